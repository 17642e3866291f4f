"""Segment anything: the model, the neck of its encoder, its decoder for many prompts.

Prompt encoder, mask decoder and two-way transformer are those of the package
``segment-anything`` (extra ``sam``), imported when a model is built.
"""

from mmrapidnet.models.sam.neck import SAMNeck
from mmrapidnet.models.sam.segment_anything import SegmentAnything

__all__ = ['SAMNeck', 'SegmentAnything']
