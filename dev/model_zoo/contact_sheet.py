"""Several pictures on one sheet."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np


def draw_contact_sheet(
    pictures: Sequence[str | Path | np.ndarray],
    out: str | Path,
    columns: int = 2,
    width: int = 384,
) -> None:
    """Put pictures into rows, scaled to one width.

    Args:
        pictures: The pictures, at least one, those of a row of one shape: paths, or
            (H, W, 3), BGR, uint8.
        out: The picture to write.
        columns: Pictures a row. Defaults to 2.
        width: Width of each in pixels. Defaults to 384.
    """
    tiles = []
    for given in pictures:
        picture = given if isinstance(given, np.ndarray) else cv2.imread(str(given))
        height = round(picture.shape[0] * width / picture.shape[1])
        tile = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
        tiles.append(np.pad(tile, ((3, 3), (3, 3), (0, 0)), constant_values=255))
    tiles += [np.full_like(tiles[0], 255)] * (-len(tiles) % columns)
    rows = [np.hstack(tiles[i : i + columns]) for i in range(0, len(tiles), columns)]
    # OpenCV warns of options that are not of the format.
    jpeg = Path(out).suffix in ('.jpg', '.jpeg')
    options = (cv2.IMWRITE_JPEG_QUALITY, 90) if jpeg else ()
    cv2.imwrite(str(out), np.vstack(rows), options)
