"""From a folder that holds what it must to a folder that is whole or not there."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from mmrapidnet.utils.atomic import new_folder
from mmrapidnet.utils.errors import UserError


@contextmanager
def converted(
    src: Path, dst: str | os.PathLike, expected: Collection[str]
) -> Iterator[Path]:
    """Give a folder for the converted data set, which appears at the end.

    Args:
        src: Folder of the published data set.
        dst: Folder to write to; it must not exist or be empty.
        expected: What ``src`` must hold.

    Yields:
        The folder under a temporary name.

    Raises:
        UserError: If something is missing in ``src``, if ``dst`` holds something, or
            if a file cannot be read or written.
    """
    for path in (src, *(src / name for name in expected)):
        if not path.exists():
            names = f'; expected in {src}: {", ".join(expected)}' if expected else ''
            raise UserError(
                f'there is no {path}{names}: give the folder of the data set as it is '
                'published'
            )
    dst = Path(dst).resolve()
    try:
        if dst.exists() and os.listdir(dst):
            raise UserError(
                f'{dst} exists and holds something: give a folder that does not exist '
                'or is empty'
            )
        with new_folder(dst) as folder:
            yield folder
    except OSError as error:
        raise UserError(f'cannot convert {src} to {dst}: {error}') from error


def check_size(path: Path, labels: np.ndarray, image: np.ndarray) -> None:
    """Hold a label map or a mask to the size of its image.

    Args:
        path: Its file.
        labels: One number per pixel, (H, W).
        image: Its image, (H, W, 3).

    Raises:
        UserError: If it is of another size, or has several numbers per pixel.
    """
    if labels.shape != image.shape[:2]:
        found, wanted = ('x'.join(map(str, a.shape)) for a in (labels, image[..., 0]))
        raise UserError(
            f'{path} is of {found} (height x width), its image of {wanted}: both must '
            'be alike, with one number per pixel; get the two anew'
        )
