"""The networks: building blocks in `layers`, registered backbones in `backbones`."""

from mmrapidnet.models.backbones import RapidNet

__all__ = ['RapidNet']
