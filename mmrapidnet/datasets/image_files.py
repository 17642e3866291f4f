"""Images and label maps as files: read, or written, or an error that names the file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from mmrapidnet.utils.errors import in_one_line


def read(path: Path, mode: str | None = None) -> np.ndarray:
    """Read an image.

    Args:
        path: The file.
        mode: Pillow's mode to convert it to, such as 'RGB' or 'L'. Defaults to None: as
            it is stored; of an image with a palette its indices.

    Returns:
        (H, W), or (H, W, C) if it has several channels, uint8 of the usual modes.

    Raises:
        UserError: If it cannot be read.
    """
    with in_one_line(f'{path} cannot be read as an image'), Image.open(path) as image:
        return np.asarray(image.convert(mode) if mode else image)


def save(image: np.ndarray, path: Path, options: Sequence[int] = ()) -> None:
    """Encode by suffix; unlike ``cv2.imwrite``, failing to write raises OSError.

    Args:
        image: A label map (H, W), or RGB (H, W, 3), uint8.
        path: The file.
        options: OpenCV's for the format.
    """
    if image.ndim == 3:
        image = np.ascontiguousarray(image[..., ::-1])
    path.write_bytes(cv2.imencode(path.suffix, image, options)[1].tobytes())
