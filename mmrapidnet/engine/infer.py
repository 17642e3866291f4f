"""Draw predictions on images with the libraries' own inferencers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
from mmengine.config import Config

from mmrapidnet.checkpoints.pretrained import check_fits, read_checkpoint
from mmrapidnet.engine.libraries import require_library
from mmrapidnet.errors import UserError

IMAGE_SUFFIXES = {'.jpg', '.jpeg', '.png', '.bmp', '.tif', '.tiff', '.webp'}


def infer(
    cfg: Config,
    checkpoint: str,
    inputs: Sequence[str],
    out_dir: str,
    device: str | None = None,
    score_thr: float = 0.3,
) -> list[str]:
    """Draw what a model sees in some images.

    Args:
        cfg: The config the checkpoint was trained with.
        checkpoint: Path of the checkpoint.
        inputs: Images, or folders of images.
        out_dir: The pictures go to ``out_dir/vis``.
        device: Such as 'cpu' or 'cuda:0'. Defaults to a GPU if there is one.
        score_thr: Least score of a detection to be drawn. Defaults to 0.3.

    Returns:
        The images that were read.

    Raises:
        UserError: If there is nothing to read or the checkpoint does not fit.
    """
    scope = require_library(cfg)
    images = find_images(inputs)
    content = read_checkpoint(checkpoint)
    if scope == 'mmdet':
        from mmdet.apis import DetInferencer

        inferencer = DetInferencer(cfg, weights=checkpoint, device=device)
        options = dict(no_save_pred=True, pred_score_thr=score_thr)
    elif scope == 'mmseg':
        from mmseg.apis import MMSegInferencer

        # Left alone, it would draw every model in the colours of Cityscapes.
        meta = content.get('meta', {}).get('dataset_meta', {})
        inferencer = MMSegInferencer(
            cfg,
            weights=checkpoint,
            device=device,
            classes=meta.get('classes'),
            palette=meta.get('palette'),
        )
        options = {}
    else:
        raise UserError(f'{cfg.filename}: there is nothing to draw for a classifier')
    check_fits(inferencer.model, content, checkpoint)
    inferencer(images, out_dir=out_dir, **options)
    return images


def find_images(inputs: Sequence[str]) -> list[str]:
    """List the images among some files and folders.

    Args:
        inputs: Images, or folders whose images are meant.

    Returns:
        Paths of images, those of a folder in alphabetical order.

    Raises:
        UserError: If a path does not exist, a file is no image that can be read, or
            a folder holds none.
    """
    images = []
    for item in map(Path, inputs):
        if item.is_dir():
            found = sorted(
                p for p in item.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES
            )
            if not found:
                raise UserError(f'the folder {item} holds no image')
        elif item.is_file():
            found = [item]
        else:
            raise UserError(f'there is no image or folder {item}')
        for path in found:
            if not cv2.haveImageReader(str(path)):
                raise UserError(f'{path} is not an image that can be read')
        images += map(str, found)
    return images
