"""Shapes to classify, one object an image, written in ImageNet's layout.

::

    root/{train,val}/<class>/*.png
    root/shapes.json

The background is a confounder.  Every class has a look of background of its own, and
half of its training images have it (``CONFOUNDED``; the others have any), so that a
model gains by learning the background: alone it gives away about 54 % of the training
labels.  In the held-out images it is worth nothing: each class has every look equally
often, so that the background alone is right once in twelve times, and a model that has
learnt it instead of the object is misled in eleven.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mmrapidnet.datasets.image_files import save
from mmrapidnet.datasets.shapes.classification_scene import CLS_CLASSES, draw_single
from mmrapidnet.datasets.shapes.folder import write_folder

DEFAULT_CLS_SPLITS = {'train': 4800, 'val': 720}
FORMAT_VERSION = 1
CONFOUNDED = 0.5

# Not those of the scenes.
_SPLIT_SEEDS = {'train': 2, 'val': 3}


def write_shapes_cls(
    root: str | os.PathLike,
    splits: Mapping[str, int] = DEFAULT_CLS_SPLITS,
    image_size: int = 64,
    seed: int = 0,
    overwrite: bool = False,
    progress: bool = False,
) -> dict[str, dict[str, Any]]:
    """Write the data set, or keep it where it is already complete.

    It appears under ``root`` at once when all of it is written.  Image ``i`` of a
    split depends on ``seed``, the split and ``i`` alone, not on how many are written;
    its class is ``i`` modulo twelve.

    Args:
        root: Folder to write to; it must not exist, be empty or hold Shapes.
        splits: Number of images of ``'train'`` and ``'val'``, or of one of them.
            Every 144 held-out images have each class before each look once.
        image_size: Height and width in pixels, at least 64; objects scale with it.
        seed: Not negative.
        overwrite: Replace Shapes made with other parameters.
        progress: Show a progress bar.

    Returns:
        For each split: ``images``, ``classes``, ``images_per_class`` (the fewest and
        the most) and ``own_background_share`` (of images with the look that is their
        class's own).

    Raises:
        UserError: A parameter is out of range, or ``root`` holds something else,
            or Shapes with other parameters, or cannot be written.

    Examples:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     statistics = write_shapes_cls(f'{folder}/shapes', {'val': 144})
        >>> statistics['val']['images_per_class']
        [12, 12]
        >>> statistics['val']['own_background_share']
        0.083
    """
    parameters = {
        'format_version': FORMAT_VERSION,
        'layout': 'imagenet',
        'seed': int(seed),
        'image_size': int(image_size),
        'splits': {split: int(count) for split, count in splits.items()},
    }
    contents = ('train', 'val')
    return write_folder(root, parameters, _write_split, contents, overwrite, progress)


def _write_split(
    root: Path, split: str, indices: Iterable[int], parameters: dict[str, Any]
) -> dict[str, Any]:
    """Write one split, one folder per class; returns its statistics."""
    for name in CLS_CLASSES:
        (root / split / name).mkdir(parents=True)
    own = 0
    for index in indices:
        rng = np.random.default_rng([parameters['seed'], _SPLIT_SEEDS[split], index])
        label, look = choose(split, index, rng)
        own += label == look
        image = draw_single(label, look, parameters['image_size'], rng)
        save(image, root / split / CLS_CLASSES[label] / f'{index + 1:06d}.png')
    count = parameters['splits'][split]
    fewest, rest = divmod(count, len(CLS_CLASSES))
    return {
        'images': count,
        'classes': len(CLS_CLASSES),
        'images_per_class': [fewest, fewest + bool(rest)],
        'own_background_share': round(own / count, 3),
    }


def choose(split: str, index: int, rng: np.random.Generator) -> tuple[int, int]:
    """Choose an image's class and the look of its background.

    Args:
        split: ``'train'`` or ``'val'``.
        index: Of the image in its split.
        rng: Source of what is random in training images.

    Returns:
        Index into ``CLS_CLASSES``, and the look; that of the same number is the class's
        own.
    """
    count = len(CLS_CLASSES)
    label = index % count
    if split == 'val':
        return label, index // count % count
    if rng.random() < CONFOUNDED:
        return label, label
    return label, int(rng.integers(count))
