"""Distillation of a tiny encoder that segments anything, as configs/ have it."""

from pathlib import Path

import cv2
from mmengine.config import Config

from helpers import tiny_sam
from helpers.commands import REPO
from mmrapidnet.config.load import load_config

STUDENT = dict(
    type='RapidNet',
    arch=dict(channels=(4, 4, 8, 8), local_blocks=(1,) * 4, global_blocks=(0, 0, 0, 1)),
    out_indices=(2, 3),
)
TINY = """
_base_ = '{repo}/configs/sam_repvit_m0_9_distill.py'

pipeline = _base_.pipeline
pipeline[1]['scale'] = ({size}, {size})
model = dict(
    backbone=dict(_delete_=True, **{student}),
    neck=dict(in_channels=[8, 8]),
    image_size={size},
    teacher=dict(_delete_=True, **{teacher}, checkpoint={checkpoint!r}),
)
train_cfg = dict(max_epochs=2)
train_dataloader = dict(
    batch_size=2,
    num_workers=0,
    persistent_workers=False,
    dataset=dict(pipeline=pipeline),
)
default_hooks = dict(logger=dict(interval=1))
"""
SIZES = ((96, 160), (150, 70), (128, 128), (40, 60))


def write_images(folder: Path) -> Path:
    """Write an image of each of `SIZES`, two of them in a sub folder."""
    for number, size in enumerate(SIZES):
        path = folder / ('sub' if number % 2 else '') / f'{number}.png'
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), tiny_sam.draw_image(*size, seed=number))
    return folder


def load(folder: Path, **options) -> Config:
    """A config of four images, two per step, and the teacher of `tiny_sam`.

    Args:
        folder: Where images, teacher and runs are, or go if they are not there.
        options: Settings to override, by dotted name.
    """
    path, images = folder / 'tiny_distill.py', folder / 'images'
    if not path.exists():
        folder.mkdir(exist_ok=True)
        write_images(images)
        _, checkpoint = tiny_sam.write(folder)
        text = TINY.format(
            repo=REPO,
            size=tiny_sam.IMAGE_SIZE,
            student=STUDENT,
            teacher=tiny_sam.MODEL,
            checkpoint=str(checkpoint),
        )
        path.write_text(text)
    return load_config(str(path), options, str(images), str(folder / 'run'))
