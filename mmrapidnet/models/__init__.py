"""The networks: building blocks in `layers`, registered backbones in `backbones`."""

from mmrapidnet.models.backbones import MobileViG, RapidNet, RepViT
from mmrapidnet.models.sam import (
    PromptedInstanceSegmentor,
    SAMNeck,
    SegmentAnything,
)

__all__ = [
    'MobileViG',
    'PromptedInstanceSegmentor',
    'RapidNet',
    'RepViT',
    'SAMNeck',
    'SegmentAnything',
]
