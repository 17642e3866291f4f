"""A small model that segments anything, with random weights, and its files."""

from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import MODELS

from dev.benchmark.peers import randomize_norms
from helpers.commands import REPO
from mmrapidnet.datasets.shapes import CLASSES
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
    """The model in evaluation mode, whose masks are of some places each."""
    torch.manual_seed(seed)
    model = randomize_norms(MODELS.build(MODEL), seed)
    for parameter in model.prompt_encoder.parameters():
        torch.nn.init.normal_(parameter)
    # Logits of -8 on average, by a channel that is the same everywhere, and far apart.
    decoder = model.mask_decoder
    with torch.no_grad():
        decoder.output_upscaling[3].bias[0] += 5
        for kernel in decoder.output_hypernetworks_mlps:
            kernel.layers[-1].weight *= 60
            kernel.layers[-1].weight[0] = 0
            kernel.layers[-1].bias[0] = -8 / 5
        decoder.iou_prediction_head.layers[-1].weight *= 5
    return model.eval()


def write(folder: Path) -> tuple[Path, Path]:
    """Write its config and checkpoint."""
    config, checkpoint = folder / 'tiny_sam.py', folder / 'tiny_sam.pth'
    Config(dict(model=MODEL)).dump(config)
    torch.save({'state_dict': build().state_dict()}, checkpoint)
    return config, checkpoint


def write_segmentor(folder: Path, **model: str | None) -> Path:
    """Write the config that tests it with boxes, on Shapes in place of COCO.

    Args:
        folder: Where it goes.
        model: What changes of the model, such as ``boxes``.

    Returns:
        Its path.
    """
    base = REPO / 'configs'
    path = folder / 'tiny_sam_coco.py'
    path.write_text(
        f"""_base_ = '{base / 'sam_repvit_m2_3_coco.py'}'
model = dict(**{model!r}, segmenter=dict(_delete_=True, **{MODEL!r}))
val_dataloader = dict(
    num_workers=0,
    persistent_workers=False,
    dataset=dict(metainfo=dict(classes={CLASSES!r})),
)
test_dataloader = val_dataloader
"""
    )
    return path


def draw_image(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Patches of colours, uint8 (height, width, 3)."""
    rng = np.random.default_rng(seed)
    colours = rng.integers(0, 255, (height // 16 + 1, width // 16 + 1, 3), np.uint8)
    return colours.repeat(16, 0).repeat(16, 1)[:height, :width]
