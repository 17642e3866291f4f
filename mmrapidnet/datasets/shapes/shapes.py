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
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from mmrapidnet.datasets.image_files import save
from mmrapidnet.datasets.shapes.folder import write_folder
from mmrapidnet.datasets.shapes.layouts import (
    ade_label_map,
    coco_annotations,
    coco_categories,
)
from mmrapidnet.datasets.shapes.scene import CLASSES, PALETTE, draw_scene

SEG_CLASSES = ('background', *CLASSES)
SEG_PALETTE = ((120, 120, 120), *PALETTE)

DEFAULT_SPLITS = {'train': 800, 'val': 150}
FORMAT_VERSION = 1
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

    Examples:
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
    contents = ('coco', 'ade')
    return write_folder(root, parameters, _write_split, contents, overwrite, progress)


def _write_split(
    root: Path, split: str, indices: Iterable[int], parameters: dict[str, Any]
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
    for index in indices:
        rng = np.random.default_rng([seed, _SPLIT_SEEDS[split], index])
        scene = draw_scene(size, rng)
        image_id, stem = index + 1, f'{index + 1:012d}'
        images.append(
            {'id': image_id, 'file_name': f'{stem}.jpg', 'width': size, 'height': size}
        )
        annotations += coco_annotations(scene, image_id, len(annotations) + 1)
        quality = [cv2.IMWRITE_JPEG_QUALITY, 95]
        save(scene.image, folders['coco'] / f'{stem}.jpg', quality)
        _link(folders['coco'] / f'{stem}.jpg', folders['ade'] / f'{stem}.jpg')
        save(ade_label_map(scene), folders['labels'] / f'{stem}.png')
    content = {
        'info': {'description': 'Shapes', 'version': str(FORMAT_VERSION)},
        'licenses': [],
        'categories': coco_categories(),
        'images': images,
        'annotations': annotations,
    }
    path = folders['instances'] / f'instances_{split}2017.json'
    path.write_text(json.dumps(content))
    return _statistics(annotations, len(images))


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


def _link(source: Path, target: Path) -> None:
    """One file in two places; a copy where the file system has no hard links."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
