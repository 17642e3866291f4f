"""Tiny-ImageNet, from the layout in which it is published."""

from __future__ import annotations

import os
import shutil
from collections import defaultdict
from pathlib import Path
from typing import Any

from rich.progress import track

from mmrapidnet.datasets.convert.folders import converted
from mmrapidnet.utils.errors import UserError

CLASSES = 'wnids.txt'
VAL_LABELS = 'val/val_annotations.txt'
VAL_IMAGES = 'val/images'


def convert_tiny_imagenet(
    src: str | os.PathLike,
    dst: str | os.PathLike,
    every: int = 1,
    progress: bool = False,
) -> dict[str, dict[str, Any]]:
    """Write Tiny-ImageNet with one folder per class.

    ``train/WNID/images/*.JPEG``, and ``val/images/*.JPEG`` by the classes that
    ``val/val_annotations.txt`` tells, are copied to ``{train,val}/WNID/``.

    Args:
        src: The folder ``tiny-imagenet-200``.
        dst: Folder to write to, which appears when it is whole; it must not exist or
            be empty.
        every: Keep every so manieth class, in the order of their WordNet ids, from the
            first on. Defaults to 1, which keeps all.
        progress: Show a progress bar.

    Returns:
        For each split: ``images``, ``classes`` and ``images_per_class`` (the fewest
        and the most).

    Raises:
        UserError: In one line, what is missing or wrong: a folder or list, a class
            without images, a damaged line, an unknown class or a missing image in the
            list, or ``dst`` if it holds something.
    """
    if every < 1:
        raise UserError(f'every must be at least 1, which keeps all classes: {every}')
    src = Path(src)
    with converted(src, dst, ('train', CLASSES, VAL_IMAGES, VAL_LABELS)) as out:
        classes = sorted((src / CLASSES).read_text().split())
        if not classes:
            raise UserError(f'{src / CLASSES} names no class: get the file anew')
        kept = classes[::every]
        held_out = _list_val(src, classes)
        images = {
            'train': {wnid: _list_train(src, wnid) for wnid in kept},
            'val': {wnid: held_out[wnid] for wnid in kept},
        }
        return {
            split: _copy_split(by_class, out / split, progress)
            for split, by_class in images.items()
        }


def _list_train(src: Path, wnid: str) -> list[Path]:
    return sorted((src / 'train' / wnid / 'images').glob('*.JPEG'))


def _list_val(src: Path, classes: list[str]) -> dict[str, list[Path]]:
    """The held-out images of each class, by the list of their labels."""
    listing, images, known = src / VAL_LABELS, defaultdict(list), set(classes)
    for number, line in enumerate(listing.read_text().splitlines(), 1):
        name, _, rest = line.partition('\t')
        wnid = rest.partition('\t')[0]
        if not (name and wnid):
            raise UserError(
                f'{listing}, line {number}: {line!r} instead of an image, its class '
                'and its box with tabs between them: get the file anew'
            )
        if wnid not in known:
            raise UserError(
                f'{listing}, line {number}: unknown class {wnid} of {name}: expected '
                f'one of the {len(classes)} of {src / CLASSES}'
            )
        path = src / VAL_IMAGES / name
        if not path.exists():
            raise UserError(
                f'{listing}, line {number}: there is no {path}: get the images anew'
            )
        images[wnid].append(path)
    return images


def _copy_split(
    by_class: dict[str, list[Path]], out: Path, progress: bool
) -> dict[str, Any]:
    bar = track(by_class.items(), f'Classes, {out.name}', disable=not progress)
    for wnid, paths in bar:
        if not paths:
            raise UserError(
                f'class {wnid} has no {out.name} image (*.JPEG), but {CLASSES} names '
                'it: get the data set anew'
            )
        (out / wnid).mkdir(parents=True)
        for path in paths:
            shutil.copyfile(path, out / wnid / path.name)
    counts = [len(paths) for paths in by_class.values()]
    return {
        'images': sum(counts),
        'classes': len(counts),
        'images_per_class': [min(counts), max(counts)],
    }
