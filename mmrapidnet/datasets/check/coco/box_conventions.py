"""Ways in which four numbers are written for a box, and how to tell them apart."""

from __future__ import annotations

import numpy as np

COCO = 'left, top, width, height'
CORNERS = 'left, top, right, bottom'
CENTRES = 'centre x, centre y, width, height'
FRACTIONS = 'fractions of the image'
UNKNOWN = 'something else'

TOLERANCE = 2  # pixels between a box and the bounds of its mask
# Shares of the objects that speak for and against a convention.
_MOST, _FEW = 0.9, 0.5


def as_corners(boxes: np.ndarray, convention: str = COCO) -> np.ndarray:
    """Read boxes in a convention.

    Args:
        boxes: (N, 4) As written.
        convention: `COCO`, the default, `CORNERS` or `CENTRES`.

    Returns:
        (N, 4) Left, top, right, bottom.

    Examples:
        >>> as_corners(np.array([[10, 20, 4, 6]]), CENTRES).tolist()
        [[8.0, 17.0, 12.0, 23.0]]
    """
    first, second = boxes[:, :2], boxes[:, 2:]
    if convention == CORNERS:
        return np.hstack([first, second])
    start = first - second / 2 if convention == CENTRES else first
    return np.hstack([start, start + second])


def find_convention(
    boxes: np.ndarray, bounds: np.ndarray, areas: np.ndarray, sizes: np.ndarray
) -> str:
    """Find how the boxes of a file are written.

    Those are `FRACTIONS` of which no number is over 1, although images are larger.
    Otherwise the masks tell, and where there are none, the areas, corners at least.

    Args:
        boxes: (N, 4) As written.
        bounds: (N, 4) Left, top, right, bottom of each mask; NaN if there is none.
        areas: (N,) As written; NaN if they tell nothing.
        sizes: (N, 2) The sides of each image.

    Returns:
        `FRACTIONS`, or the convention; `COCO` unless most boxes are right in another
        one only, `UNKNOWN` if most contradict their masks in any.
    """
    if not len(boxes):
        return COCO
    if boxes.max() <= 1 and sizes.min() > 2:
        return FRACTIONS
    masked = ~np.isnan(bounds[:, 0])
    if masked.any():
        return _find_by_masks(boxes[masked], bounds[masked])
    right = {
        c: _have_areas(as_corners(boxes, c), areas).mean() for c in (COCO, CORNERS)
    }
    return CORNERS if right[CORNERS] >= _MOST and right[COCO] < _FEW else COCO


def agree(corners: np.ndarray, bounds: np.ndarray) -> np.ndarray:
    """(N,) Whether boxes are the bounds of masks but for rounding, both as corners."""
    close = (np.abs(corners - bounds) <= TOLERANCE).all(1)
    return close | (_overlap(corners, bounds) > _MOST)


def contradict(corners: np.ndarray, bounds: np.ndarray) -> np.ndarray:
    """(N,) Whether boxes have less than half in common with masks."""
    far = (np.abs(corners - bounds) > TOLERANCE).any(1)
    return far & (_overlap(corners, bounds) < _FEW)


def _find_by_masks(boxes: np.ndarray, bounds: np.ndarray) -> str:
    conventions = COCO, CORNERS, CENTRES
    shares = {c: agree(as_corners(boxes, c), bounds).mean() for c in conventions}
    best = max(shares, key=shares.get)
    if shares[COCO] < _FEW and shares[best] >= _MOST:
        return best
    return UNKNOWN if contradict(as_corners(boxes), bounds).mean() >= _MOST else COCO


def _have_areas(corners: np.ndarray, areas: np.ndarray) -> np.ndarray:
    sides = corners[:, 2:] - corners[:, :2]
    return (sides > 0).all(1) & np.isclose(sides.prod(1), areas, rtol=0.01)


def _overlap(corners: np.ndarray, bounds: np.ndarray) -> np.ndarray:
    """Intersection over union."""
    start = np.maximum(corners[:, :2], bounds[:, :2])
    end = np.minimum(corners[:, 2:], bounds[:, 2:])
    common = np.clip(end - start, 0, None).prod(1)
    areas = [np.clip(b[:, 2:] - b[:, :2], 0, None).prod(1) for b in (corners, bounds)]
    return common / np.maximum(areas[0] + areas[1] - common, np.finfo(float).tiny)
