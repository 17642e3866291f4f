"""The networks: building blocks in `layers`, registered backbones in `backbones`."""

from mmrapidnet.models.backbones import MobileViG, RapidNet, RepViT
from mmrapidnet.models.sam import (
    DistilledSegmentAnything,
    PromptedInstanceSegmentor,
    SAMNeck,
    SAMViT,
    SegmentAnything,
)

__all__ = [
    'DistilledSegmentAnything',
    'MobileViG',
    'PromptedInstanceSegmentor',
    'RapidNet',
    'RepViT',
    'SAMNeck',
    'SAMViT',
    'SegmentAnything',
]
