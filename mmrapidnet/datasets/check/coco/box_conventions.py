"""Ways in which four numbers are written for a box, and how to tell them apart."""

from __future__ import annotations

import numpy as np

COCO = 'left, top, width, height'
CORNERS = 'left, top, right, bottom'
CENTRES = 'centre x, centre y, width, height'
CONVENTIONS = (COCO, CORNERS, CENTRES)
UNKNOWN = 'something else'

TOLERANCE = 2  # pixels between a box and the bounds of its mask
# Shares of the objects that speak for and against a convention.
_MOST, _FEW = 0.9, 0.5


def as_corners(boxes: np.ndarray, convention: str) -> np.ndarray:
    """Read boxes in a convention.

    Args:
        boxes: (N, 4) As written.
        convention: `COCO`, `CORNERS` or `CENTRES`.

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


def find_convention(boxes: np.ndarray, bounds: np.ndarray) -> str:
    """Find the convention in which boxes agree with the masks of their objects.

    Args:
        boxes: (N, 4) As written.
        bounds: (N, 4) Left, top, right, bottom of each mask.

    Returns:
        The convention; `COCO` unless most boxes agree in another one only, `UNKNOWN`
        if most contradict their masks in any.
    """
    shares = {c: agree(as_corners(boxes, c), bounds).mean() for c in CONVENTIONS}
    best = max(shares, key=shares.get)
    if shares[COCO] < _FEW and shares[best] >= _MOST:
        return best
    wrong = contradict(as_corners(boxes, COCO), bounds).mean()
    return UNKNOWN if wrong >= _MOST else COCO


def find_convention_by_area(boxes: np.ndarray, areas: np.ndarray) -> str:
    """Tell corners from extents by the areas of objects without masks.

    Args:
        boxes: (N, 4) As written.
        areas: (N,) As written.

    Returns:
        `CORNERS` if most areas are right in that reading only, else `COCO`.
    """

    def share(convention: str) -> float:
        corners = as_corners(boxes, convention)
        sides = corners[:, 2:] - corners[:, :2]
        right = (sides > 0).all(1) & np.isclose(sides.prod(1), areas, rtol=0.01)
        return right.mean()

    is_corners = share(CORNERS) >= _MOST and share(COCO) < _FEW
    return CORNERS if is_corners else COCO


def are_fractions(boxes: np.ndarray, sizes: np.ndarray) -> bool:
    """Whether boxes are in fractions of their images instead of in pixels.

    Args:
        boxes: (N, 4) As written.
        sizes: (N, 2) Width and height of the images.

    Returns:
        Whether no number of any box is over 1, although images are larger.
    """
    return len(boxes) > 0 and bool(boxes.max() <= 1 and sizes.min() > 2)


def agree(corners: np.ndarray, bounds: np.ndarray) -> np.ndarray:
    """Whether boxes are the bounds of masks, but for rounding.

    Args:
        corners: (N, 4) Left, top, right, bottom.
        bounds: (N, 4) The same of each mask.

    Returns:
        (N,) Whether they are.
    """
    close = (np.abs(corners - bounds) <= TOLERANCE).all(1)
    return close | (_overlap(corners, bounds) > _MOST)


def contradict(corners: np.ndarray, bounds: np.ndarray) -> np.ndarray:
    """Whether boxes have less than half in common with masks.

    Args:
        corners: (N, 4) Left, top, right, bottom.
        bounds: (N, 4) The same of each mask.

    Returns:
        (N,) Whether they do.
    """
    far = (np.abs(corners - bounds) > TOLERANCE).any(1)
    return far & (_overlap(corners, bounds) < _FEW)


def _overlap(corners: np.ndarray, bounds: np.ndarray) -> np.ndarray:
    """Intersection over union."""
    start = np.maximum(corners[:, :2], bounds[:, :2])
    end = np.minimum(corners[:, 2:], bounds[:, 2:])
    common = np.clip(end - start, 0, None).prod(1)
    areas = [np.clip(b[:, 2:] - b[:, :2], 0, None).prod(1) for b in (corners, bounds)]
    return common / np.maximum(areas[0] + areas[1] - common, np.finfo(float).tiny)
