"""Several pictures on one sheet."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np


def draw_contact_sheet(
    pictures: Sequence[str | Path], out: str | Path, columns: int = 2, width: int = 384
) -> None:
    """Put pictures of one shape into rows, scaled to one width.

    Args:
        pictures: Paths of the pictures, at least one.
        out: The picture to write.
        columns: Pictures a row. Defaults to 2.
        width: Width of each in pixels. Defaults to 384.
    """
    tiles = []
    for path in pictures:
        picture = cv2.imread(str(path))
        height = round(picture.shape[0] * width / picture.shape[1])
        tile = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
        tiles.append(np.pad(tile, ((3, 3), (3, 3), (0, 0)), constant_values=255))
    tiles += [np.full_like(tiles[0], 255)] * (-len(tiles) % columns)
    rows = [np.hstack(tiles[i : i + columns]) for i in range(0, len(tiles), columns)]
    cv2.imwrite(str(out), np.vstack(rows))
