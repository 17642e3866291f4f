"""The Shapes data set, written in the layouts of COCO and ADE20K under one root.

::

    root/coco/annotations/instances_{train,val}2017.json
    root/coco/{train,val}2017/*.jpg
    root/ade/images/{training,validation}/*.jpg
    root/ade/annotations/{training,validation}/*.png
    root/shapes.json
"""

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from rich.progress import track

from mmrapidnet.data.layouts import ade_label_map, coco_annotations, coco_categories
from mmrapidnet.data.scene import CLASSES, PALETTE, Scene, draw_scene
from mmrapidnet.errors import UserError

SEG_CLASSES = ('background', *CLASSES)
SEG_PALETTE = ((120, 120, 120), *PALETTE)

DEFAULT_SPLITS = {'train': 800, 'val': 150}
FORMAT_VERSION = 1
MARKER = 'shapes.json'
MIN_SIZE = 64
OCCLUDED = 0.1

_SPLIT_SEEDS = {'train': 0, 'val': 1}
_ADE_NAMES = {'train': 'training', 'val': 'validation'}


def write_shapes(
    root: str | os.PathLike,
    splits: Mapping[str, int] = DEFAULT_SPLITS,
    image_size: int = 192,
    seed: int = 0,
    overwrite: bool = False,
    progress: bool = False,
) -> dict[str, dict[str, Any]]:
    """Write the Shapes data set, or keep it where it is already complete.

    The data set appears under ``root`` at once when all of it is written. Image
    ``i`` of a split depends on ``seed``, the split and ``i`` alone, not on how
    many are written.

    Args:
        root: Folder to write to; it must not exist, be empty or hold Shapes.
        splits: Number of images of ``'train'`` and ``'val'``, or of one of them.
        image_size: Height and width in pixels, at least 64; objects scale with it.
        seed: Not negative.
        overwrite: Replace Shapes made with other parameters.
        progress: Show a progress bar.

    Returns:
        For each split: ``images``, ``empty_images``, ``crowds``, ``objects``
        (without crowds), ``objects_per_image`` (mean over images with any),
        ``occluded_share`` (of objects of which others hide a tenth or more) and
        ``area_quartiles`` (of the objects' visible areas, in pixels).

    Raises:
        UserError: A parameter is out of range, or ``root`` holds something else,
            or Shapes with other parameters, or cannot be written.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     statistics = write_shapes(f'{folder}/shapes', {'val': 4})
        >>> statistics['val']['images']
        4
    """
    parameters = {
        'format_version': FORMAT_VERSION,
        'seed': int(seed),
        'image_size': int(image_size),
        'splits': {split: int(count) for split, count in splits.items()},
    }
    _check(parameters)
    root = Path(root).resolve()
    found = _read_marker(root)
    if found and found['parameters'] == parameters:
        return found['statistics']
    if found:
        _check_replaceable(root, found, parameters, overwrite)
    partial = root.with_name(f'.{root.name}.{os.getpid()}.partial')
    try:
        partial.mkdir(parents=True)
        statistics = _write(partial, parameters, progress)
        if found:
            shutil.rmtree(root)
        partial.rename(root)
    except OSError as error:
        raise UserError(f'cannot write Shapes to {root}: {error}') from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return statistics


def _check(parameters: dict[str, Any]) -> None:
    """Raise UserError for a parameter out of range."""
    splits = parameters['splits']
    if not splits or not set(splits) <= set(_SPLIT_SEEDS):
        raise UserError(
            f"splits must name 'train', 'val' or both, got {sorted(splits)}"
        )
    for split, count in splits.items():
        if count < 1:
            raise UserError(f'{split} must have at least 1 image, got {count}')
    if parameters['image_size'] < MIN_SIZE:
        raise UserError(
            f'image_size must be at least {MIN_SIZE}, got {parameters["image_size"]}'
        )
    if parameters['seed'] < 0:
        raise UserError(f'seed must not be negative, got {parameters["seed"]}')


def _read_marker(root: Path) -> dict[str, Any] | None:
    """What is known of the Shapes at ``root``; None where there is nothing yet."""
    try:
        if not root.exists() or not os.listdir(root):
            return None
        found = json.loads((root / MARKER).read_text())
        if found.keys() >= {'parameters', 'statistics'}:
            return found
    except (OSError, ValueError, AttributeError):
        pass
    raise UserError(
        f'{root} exists and is not a Shapes data set (no readable {MARKER} in it): '
        'give a folder that does not exist or is empty'
    )


def _check_replaceable(
    root: Path, found: dict[str, Any], parameters: dict[str, Any], overwrite: bool
) -> None:
    """Raise UserError unless the user wants it and only Shapes would be lost."""
    if not overwrite:
        raise UserError(
            f'{root} holds Shapes made with {found["parameters"]}, not with '
            f'{parameters}: give another folder, or ask to overwrite it'
        )
    others = set(os.listdir(root)) - {'coco', 'ade', MARKER}
    if others:
        raise UserError(
            f'{root} is not overwritten because it also holds {sorted(others)}: '
            'move them away or give another folder'
        )


def _write(root: Path, parameters: dict[str, Any], progress: bool) -> dict[str, Any]:
    """Write all splits and, last, the marker; returns the statistics."""
    statistics = {
        split: _write_split(root, split, count, parameters, progress)
        for split, count in parameters['splits'].items()
    }
    marker = {'parameters': parameters, 'statistics': statistics}
    (root / MARKER).write_text(json.dumps(marker, indent=2) + '\n')
    return statistics


def _write_split(
    root: Path, split: str, count: int, parameters: dict[str, Any], progress: bool
) -> dict[str, Any]:
    """Write one split in both layouts; returns its statistics."""
    folders = {
        'coco': root / f'coco/{split}2017',
        'ade': root / f'ade/images/{_ADE_NAMES[split]}',
        'labels': root / f'ade/annotations/{_ADE_NAMES[split]}',
        'instances': root / 'coco/annotations',
    }
    for folder in folders.values():
        folder.mkdir(parents=True, exist_ok=True)
    size, seed = parameters['image_size'], parameters['seed']
    images, annotations = [], []
    for index in track(range(count), f'Shapes, {split}', disable=not progress):
        rng = np.random.default_rng([seed, _SPLIT_SEEDS[split], index])
        scene = draw_scene(size, rng)
        image_id, stem = index + 1, f'{index + 1:012d}'
        images.append(
            {'id': image_id, 'file_name': f'{stem}.jpg', 'width': size, 'height': size}
        )
        annotations += coco_annotations(scene, image_id, len(annotations) + 1)
        _save_image(scene, folders['coco'] / f'{stem}.jpg')
        _link(folders['coco'] / f'{stem}.jpg', folders['ade'] / f'{stem}.jpg')
        _save(ade_label_map(scene), folders['labels'] / f'{stem}.png')
    content = {
        'info': {'description': 'Shapes', 'version': str(FORMAT_VERSION)},
        'licenses': [],
        'categories': coco_categories(),
        'images': images,
        'annotations': annotations,
    }
    path = folders['instances'] / f'instances_{split}2017.json'
    path.write_text(json.dumps(content))
    return _statistics(annotations, count)


def _statistics(annotations: list[dict[str, Any]], images: int) -> dict[str, Any]:
    """The figures of one split, as ``write_shapes`` describes them."""
    objects = [ann for ann in annotations if not ann['iscrowd']]
    filled = len({ann['image_id'] for ann in annotations})
    occluded = sum(ann['occlusion'] >= OCCLUDED for ann in objects)
    areas = [ann['area'] for ann in objects] or [0]
    return {
        'images': images,
        'empty_images': images - filled,
        'crowds': len(annotations) - len(objects),
        'objects': len(objects),
        'objects_per_image': round(len(objects) / max(filled, 1), 2),
        'occluded_share': round(occluded / max(len(objects), 1), 3),
        'area_quartiles': np.percentile(areas, (25, 50, 75)).round().tolist(),
    }


def _save_image(scene: Scene, path: Path) -> None:
    bgr = np.ascontiguousarray(scene.image[..., ::-1])
    _save(bgr, path, [cv2.IMWRITE_JPEG_QUALITY, 95])


def _save(image: np.ndarray, path: Path, options: Sequence[int] = ()) -> None:
    """Encode by suffix; unlike ``cv2.imwrite``, failing to write raises OSError."""
    path.write_bytes(cv2.imencode(path.suffix, image, options)[1].tobytes())


def _link(source: Path, target: Path) -> None:
    """One file in two places; a copy where the file system has no hard links."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
