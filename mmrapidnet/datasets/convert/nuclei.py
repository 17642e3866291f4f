"""Nuclei, from the layout in which the 2018 Data Science Bowl publishes them."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import track

from mmrapidnet.datasets.coco_mask import describe_mask
from mmrapidnet.datasets.convert.folders import check_size, converted
from mmrapidnet.datasets.image_files import read, save
from mmrapidnet.utils.errors import UserError

MAX_SIZE = 360
# One image of so many of its kind and size is held out.
HELD_OUT = 5
# More than half of the pixels of a fluorescence image are below this, of 256.
DARK = 128
# Pixels of an object are above this.
INSIDE = 127


def convert_nuclei(
    src: str | os.PathLike,
    dst: str | os.PathLike,
    max_size: int = MAX_SIZE,
    all_kinds: bool = False,
    first: tuple[int, int] | None = None,
    progress: bool = False,
) -> dict[str, dict[str, Any]]:
    """Write the images with their objects in COCO's JSON.

    ``ID/images/ID.png`` and ``ID/masks/*.png`` become ``{train,val}/ID.png`` and
    ``annotations/{train,val}.json``, with one class, ``nucleus``.  The split is this
    project's: in the order of the ids, every fifth image of each size is held out
    (with ``all_kinds`` of each size among the fluorescence images and the others).

    Masks are kept as they are, a few pixels where two of them overlap included.  One
    without a pixel is left out.

    Args:
        src: The folder ``stage1_train``.
        dst: Folder to write to, which appears when it is whole; it must not exist or
            be empty.
        max_size: Keep images of at most so many pixels a side. Defaults to 360.
        all_kinds: Keep stained tissue and other light or coloured images, too, not only
            fluorescence images, which are grey on a dark ground.
        first: Keep so many images to train on and to hold out, the first of each.
            Defaults to all of them.
        progress: Show a progress bar.

    Returns:
        For each split: ``images``, ``nuclei``, ``nuclei_per_image`` (fewest, median and
        most), ``overlapping_pixels`` (in two masks or more) and ``empty_masks``.

    Raises:
        UserError: In one line, what is missing or wrong: a folder, an image or its
            masks, one that cannot be read or is of another size, too few images for
            a split, or ``dst`` if it holds something.
    """
    src = Path(src)
    with converted(src, dst, ()) as out:
        names = sorted(path.name for path in src.iterdir() if path.is_dir())
        names = track(names, 'Nuclei, kinds', disable=not progress)
        splits = _split(src, names, max_size, all_kinds)
        if first:
            splits = {s: ids[: max(n, 0)] for (s, ids), n in zip(splits.items(), first)}
        _check_splits(src, splits)
        (out / 'annotations').mkdir()
        return {
            split: _convert_split(src, out, split, ids, progress)
            for split, ids in splits.items()
        }


def _split(
    src: Path, names: Iterable[str], max_size: int, all_kinds: bool
) -> dict[str, list[str]]:
    """The ids of the images to train on and of those held out, in their order."""
    splits, seen = {'train': [], 'val': []}, Counter()
    for name in names:
        image = _read_image(src, name)
        fluorescence = is_fluorescence(image)
        if max(image.shape[:2]) > max_size or not (fluorescence or all_kinds):
            continue
        kind = fluorescence, image.shape
        seen[kind] += 1
        splits['train' if seen[kind] % HELD_OUT else 'val'].append(name)
    return splits


def is_fluorescence(image: np.ndarray) -> bool:
    """Tell fluorescence images, grey on a dark ground, from stained tissue.

    Args:
        image: RGB, (H, W, 3), uint8.

    Returns:
        Whether all channels are equal and the median is dark.

    Examples:
        >>> ground = np.full((4, 4, 3), 20, np.uint8)
        >>> is_fluorescence(ground), is_fluorescence(255 - ground)
        (True, False)
        >>> is_fluorescence(ground + np.array([60, 0, 60], np.uint8))
        False
    """
    return bool((image == image[..., :1]).all() and np.median(image) < DARK)


def _check_splits(src: Path, splits: dict[str, list[str]]) -> None:
    train, val = map(len, splits.values())
    if not (train and val):
        raise UserError(
            f'{train} images of {src} would be trained on and {val} held out, which is '
            f'every {HELD_OUT}th of its size: give the folder stage1_train, or keep '
            'more by --max-size, --all-kinds and --first'
        )


def _convert_split(
    src: Path, out: Path, split: str, names: list[str], progress: bool
) -> dict[str, Any]:
    (out / split).mkdir()
    images, annotations, counts = [], [], []
    overlapping = empty = 0
    for name in track(names, f'Nuclei, {split}', disable=not progress):
        image = _read_image(src, name)
        masks = _read_masks(src / name / 'masks', image)
        save(image, out / split / f'{name}.png')
        height, width = image.shape[:2]
        images.append(
            {
                'id': len(images) + 1,
                'file_name': f'{name}.png',
                'width': width,
                'height': height,
            }
        )
        objects = [mask for mask in masks if mask.any()]
        for mask in objects:
            annotations.append(
                {
                    'id': len(annotations) + 1,
                    'image_id': len(images),
                    'category_id': 1,
                    'iscrowd': 0,
                    **describe_mask(mask),
                }
            )
        counts.append(len(objects))
        empty += len(masks) - len(objects)
        overlapping += np.count_nonzero(np.sum(masks, axis=0) > 1)
    content = {
        'info': {'description': 'Nuclei of the 2018 Data Science Bowl'},
        'licenses': [],
        'categories': [{'id': 1, 'name': 'nucleus'}],
        'images': images,
        'annotations': annotations,
    }
    (out / 'annotations' / f'{split}.json').write_text(json.dumps(content))
    return {
        'images': len(images),
        'nuclei': len(annotations),
        'nuclei_per_image': [min(counts), float(np.median(counts)), max(counts)],
        'overlapping_pixels': overlapping,
        'empty_masks': empty,
    }


def _read_image(src: Path, name: str) -> np.ndarray:
    """(H, W, 3) without the published files' channel of opacity, which is full."""
    path = src / name / 'images' / f'{name}.png'
    if not path.exists():
        raise UserError(
            f'there is no {path}: give the folder stage1_train, with a folder '
            'ID for each image and in it images/ID.png and masks/*.png'
        )
    return read(path, 'RGB')


def _read_masks(folder: Path, image: np.ndarray) -> list[np.ndarray]:
    paths = sorted(folder.glob('*.png'))
    if not paths:
        raise UserError(
            f'{folder} holds no mask (*.png): give stage1_train, whose images all have '
            'some, or get this image anew'
        )
    masks = []
    for path in paths:
        mask = read(path, 'L')
        check_size(path, mask, image)
        masks.append(mask > INSIDE)
    return masks
