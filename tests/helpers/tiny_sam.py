"""A small model that segments anything, with random weights."""

import torch
from mmengine.registry import MODELS

from dev.benchmark.peers import randomize_norms
from mmrapidnet.models import SegmentAnything

IMAGE_SIZE = 128
MODEL = dict(
    type='SegmentAnything',
    backbone=dict(
        type='RepViT',
        arch=dict(channels=(8, 8, 16, 16), blocks=(1, 1, 2, 2)),
        last_stride=1,
        out_indices=(3,),
    ),
    neck=dict(type='SAMNeck', in_channels=[16]),
    image_size=IMAGE_SIZE,
)


def build(seed: int = 0) -> SegmentAnything:
    """The model in evaluation mode, with random weights."""
    torch.manual_seed(seed)
    model = randomize_norms(MODELS.build(MODEL), seed)
    for parameter in model.prompt_encoder.parameters():
        torch.nn.init.normal_(parameter)
    return model.eval()
