"""Draw predictions on images with the libraries' own inferencers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.infer import BaseInferencer
from rich.progress import track

from mmrapidnet.checkpoints.fused import is_fused_checkpoint
from mmrapidnet.checkpoints.labels import get_labels
from mmrapidnet.checkpoints.pretrained import (
    check_fits,
    get_state_dict,
    read_checkpoint,
)
from mmrapidnet.deploy.formats import format_of
from mmrapidnet.deploy.images import check_image
from mmrapidnet.engine.libraries import require_library
from mmrapidnet.errors import UserError
from mmrapidnet.models.layers.fold import fold_all

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
        checkpoint: Path of the checkpoint, or of a file exported from one.
        inputs: Images, or folders of images.
        out_dir: The pictures go to ``out_dir/vis``.
        device: Such as 'cpu' or 'cuda:0'. Defaults to a GPU if there is one; an
            exported file runs on the CPU.
        score_thr: Least score of a detection to be drawn. Defaults to 0.3.

    Returns:
        The images that were read.

    Raises:
        UserError: If there is nothing to read, or the checkpoint or file does not
            fit.
    """
    scope = require_library(cfg)
    images = find_images(inputs)
    if scope == 'mmpretrain':
        raise UserError(f'{cfg.filename}: there is nothing to draw for a classifier')
    if format_of(Path(checkpoint)):
        inferencer = _build_exported(cfg, checkpoint, device)
    else:
        inferencer = _build(cfg, checkpoint, device)
    options = {}
    if scope == 'mmdet':
        options = dict(no_save_pred=True, pred_score_thr=score_thr)
    # One by one: called with all of them, mmseg's keeps every prediction to the end.
    inferencer.show_progress = False
    for image in track(images, 'Inference'):
        inferencer(image, out_dir=out_dir, **options)
    return images


def _build(cfg: Config, checkpoint: str, device: str | None) -> BaseInferencer:
    content = read_checkpoint(checkpoint)
    get_state_dict(content, checkpoint)
    labels = get_labels(content, checkpoint)
    options = {}
    if cfg.default_scope == 'mmseg':
        # Left alone, it would draw every model in the colours of Cityscapes.
        options = dict(classes=labels.get('classes'), palette=labels.get('palette'))
    inferencer_class = _get_inferencer_class(cfg)
    if is_fused_checkpoint(content):
        inferencer_class = _of_fused(inferencer_class)
    inferencer = inferencer_class(cfg, weights=checkpoint, device=device, **options)
    check_fits(inferencer.model, content, checkpoint)
    return inferencer


def _of_fused(inferencer_class: type[BaseInferencer]) -> type[BaseInferencer]:
    class Inferencer(inferencer_class):
        @torch.no_grad()
        def _load_weights_to_model(self, model, checkpoint, cfg) -> None:
            fold_all(model)
            super()._load_weights_to_model(model, checkpoint, cfg)

    return Inferencer


def _build_exported(cfg: Config, path: str, device: str | None) -> BaseInferencer:
    from mmrapidnet.deploy.openmmlab import use_exported

    if device not in (None, 'cpu'):
        raise UserError(
            f'--device {device}: {path} is an exported file, which runs on the CPU'
        )
    use_exported(cfg, path)

    class Inferencer(_get_inferencer_class(cfg)):
        def _load_weights_to_model(self, model, checkpoint, cfg) -> None:
            """The file has its own weights and knows its classes."""

    return Inferencer(cfg, device='cpu')


def _get_inferencer_class(cfg: Config) -> type[BaseInferencer]:
    if cfg.default_scope == 'mmdet':
        from mmdet.apis import DetInferencer

        return DetInferencer
    from mmseg.apis import MMSegInferencer

    return MMSegInferencer


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
            check_image(path)
        images += map(str, found)
    return images
