"""Draw predictions on images, of a checkpoint or of an exported file."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import DefaultScope
from rich.progress import track
from torch import nn

from mmrapidnet.checkpoints.dataset_meta import get_labels
from mmrapidnet.checkpoints.state_dict import read_checkpoint
from mmrapidnet.config.libraries import require_library
from mmrapidnet.deploy.formats import format_of
from mmrapidnet.deploy.loading import build_model, load_model
from mmrapidnet.deploy.metadata import labels_of_config
from mmrapidnet.deploy.preprocess import (
    UnreadableImageError,
    build_pipeline,
    read_image,
)
from mmrapidnet.engine.visualization import PredictionDrawer, name_outputs
from mmrapidnet.utils.env import find_device
from mmrapidnet.utils.errors import UserError

IMAGE_SUFFIXES = {'.jpg', '.jpeg', '.png', '.bmp', '.tif', '.tiff', '.webp'}
# How many of the images that cannot be read are named.
_NAMED = 10


def infer(
    cfg: Config,
    checkpoint: str,
    inputs: Sequence[str],
    out_dir: str,
    device: str | None = None,
    score_thr: float = 0.3,
) -> list[str]:
    """Draw what a model sees in some images.

    Objects, labelled pixels, or the class with its score.  An image that cannot be read
    does not keep the others from being drawn.

    Args:
        cfg: The config the checkpoint was trained with.
        checkpoint: Path of the checkpoint, or of a file exported from one.
        inputs: Images, or folders of images.
        out_dir: The pictures go to ``out_dir/vis``, with the sub folders of what is in
            folders.
        device: Such as 'cpu' or 'cuda:0'. Defaults to a GPU if there is one; an
            exported file runs on the CPU.
        score_thr: Least score of a detection to be drawn. Defaults to 0.3.

    Returns:
        The images that were drawn.

    Raises:
        UserError: If there is nothing to read, a picture would take the place of an
            image, there is no such device, or the checkpoint or file does not fit; and
            in the end, if some of the images cannot be read.
    """
    scope = require_library(cfg)
    pictures = find_images(inputs, Path(out_dir) / 'vis')
    drawn, unreadable = [], []
    with DefaultScope.overwrite_default_scope(scope):
        load = _load_exported if format_of(Path(checkpoint)) else _load
        model, labels = load(cfg, checkpoint, device)
        pipeline = build_pipeline(cfg)
        drawer = PredictionDrawer(cfg, labels, score_thr)
        for image, picture in track(pictures.items(), 'Inference'):
            try:
                data = read_image(pipeline, image)
            except UnreadableImageError as error:
                unreadable.append(str(error))
                continue
            with torch.no_grad():
                batch = {key: [value] for key, value in data.items()}
                (sample,) = model.test_step(batch)
            drawer.draw(image, sample, picture)
            drawn.append(image)
    if unreadable:
        raise UserError(_summarise(unreadable, drawn, out_dir))
    return drawn


def _load(
    cfg: Config, checkpoint: str, device: str | None
) -> tuple[nn.Module, dict[str, Any]]:
    """The model, and the names and colours of its classes."""
    found = find_device(device)
    content = read_checkpoint(checkpoint)
    given = {k: v for k, v in get_labels(content, checkpoint).items() if v is not None}
    model = revert_sync_batchnorm(load_model(cfg, content, checkpoint))
    return model.to(found).eval(), {**labels_of_config(cfg), **given}


def _load_exported(
    cfg: Config, path: str, device: str | None
) -> tuple[nn.Module, dict[str, Any]]:
    from mmrapidnet.deploy.adapters import use_exported

    if device not in (None, 'cpu'):
        raise UserError(
            f'--device {device}: {path} is an exported file, which runs on the CPU'
        )
    use_exported(cfg, path)
    model = build_model(cfg).eval()
    return model, model.dataset_meta


def find_images(inputs: Sequence[str], out: Path) -> dict[str, Path]:
    """List the images among some files and folders, and name a picture for each.

    Args:
        inputs: Images, or folders, whose images and those of their sub folders are
            meant.
        out: The folder of the pictures, in which no image is looked for.

    Returns:
        From the path of an image, those of a folder in alphabetical order and none
        twice, to that of its picture: below ``out`` as the image lies below its input,
        or below the folder that all of them share where names would repeat.

    Raises:
        UserError: If a path does not exist, a folder holds no image, or an image would
            be overwritten.
    """
    names: dict[str, Path] = {}
    known = set()
    for item in map(Path, inputs):
        if item.is_dir():
            found = {path: path.relative_to(item) for path in _list_images(item, out)}
            if not found:
                raise UserError(f'the folder {item} holds no image')
        elif item.is_file():
            found = {item: Path(item.name)}
        else:
            raise UserError(f'there is no image or folder {item}')
        for path, name in found.items():
            if path.resolve() not in known:
                known.add(path.resolve())
                names[str(path)] = name
    if len(set(names.values())) < len(names):
        names = name_outputs(names)
    pictures = {image: out / name for image, name in names.items()}
    for image, picture in pictures.items():
        if picture.resolve() in known:
            raise UserError(
                f'the picture of {image} would take the place of {picture}: give '
                'another --out'
            )
    return pictures


def _list_images(folder: Path, out: Path) -> list[Path]:
    found = (
        Path(parent, name)
        for parent, _, names in os.walk(folder)
        for name in names
        if Path(name).suffix.lower() in IMAGE_SUFFIXES
    )
    out = out.resolve()
    return sorted(path for path in found if out not in path.resolve().parents)


def _summarise(unreadable: list[str], drawn: list[str], out_dir: str) -> str:
    said = '; '.join(unreadable[:_NAMED])
    if len(unreadable) > 1:
        total = len(unreadable) + len(drawn)
        said = f'{len(unreadable)} of {total} images are not drawn: {said}'
    if len(unreadable) > _NAMED:
        said += f'; and {len(unreadable) - _NAMED} more'
    if drawn:
        said += f'. The other {len(drawn)} are drawn in {out_dir}/vis'
    return said
