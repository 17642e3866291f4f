"""Labels of a data set in ImageNet's layout, some of them wrong on purpose."""

from __future__ import annotations

from pathlib import Path

import numpy as np


def write_noisy_labels(split: Path, path: Path, share: float, seed: int) -> None:
    """Write mmpretrain's annotation file of a split with wrong labels among the right.

    Of all images the stated share, to the nearest image and chosen at random, gets the
    label of one of the other classes, each as likely; so exactly that share is wrong.

    Args:
        split: The split, a folder per class.
        path: The file: one line per image, its path below ``split`` and its label.
        share: Of the images, from 0 to 1.
        seed: Of the choice of images and labels.
    """
    # As mmpretrain numbers them: the classes in the order of their names.
    folders = sorted(folder for folder in split.iterdir() if folder.is_dir())
    images = [
        (i, image) for i, f in enumerate(folders) for image in sorted(f.iterdir())
    ]
    labels = np.array([label for label, _ in images])
    rng = np.random.default_rng(seed)
    wrong = rng.permutation(len(labels))[: round(share * len(labels))]
    shift = rng.integers(1, len(folders), len(wrong))
    labels[wrong] = (labels[wrong] + shift) % len(folders)
    lines = [
        f'{image.relative_to(split)} {label}'
        for (_, image), label in zip(images, labels)
    ]
    path.write_text('\n'.join(lines) + '\n')
