"""Segment anything: the model, the neck of its encoder, its decoder for many prompts.

`PromptedInstanceSegmentor` makes an instance segmenter of it and of boxes.

Prompt encoder, mask decoder and two-way transformer are those of the package
``segment-anything`` (extra ``sam``), imported when a model is built.
"""

from mmrapidnet.models.sam.distilled import DistilledSegmentAnything
from mmrapidnet.models.sam.neck import SAMNeck
from mmrapidnet.models.sam.prompted_instance_segmentor import (
    PromptedInstanceSegmentor,
)
from mmrapidnet.models.sam.sam_vit import SAMViT
from mmrapidnet.models.sam.segment_anything import SegmentAnything

__all__ = [
    'DistilledSegmentAnything',
    'PromptedInstanceSegmentor',
    'SAMNeck',
    'SAMViT',
    'SegmentAnything',
]
