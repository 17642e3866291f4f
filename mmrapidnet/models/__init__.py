"""The networks: building blocks in `layers`, registered backbones in `backbones`."""

from mmrapidnet.models.backbones import MobileViG, RapidNet, RepViT
from mmrapidnet.models.sam import SAMNeck, SegmentAnything

__all__ = ['MobileViG', 'RapidNet', 'RepViT', 'SAMNeck', 'SegmentAnything']
