"""The networks: building blocks in `layers`, registered backbones in `backbones`."""

from mmrapidnet.models.backbones import MobileViG, RapidNet, RepViT

__all__ = ['MobileViG', 'RapidNet', 'RepViT']
