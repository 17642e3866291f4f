"""Masks of objects in COCO's JSON: polygons and run lengths."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
from pycocotools import mask as coco_mask

# pycocotools takes memory in proportion to coordinates; no image is as large.
_FARTHEST = 1e6
_LEAST_NUMBERS = 6  # of three points


class Fault(NamedTuple):
    """What is wrong with a mask, and whether mmdet and pycocotools live with it.

    Args:
        kind: What it is.
        detail: What was found.
        trains: Whether mmdet trains with it.  Defaults to False.
        evaluates: Whether pycocotools evaluates with it.  Defaults to False.
    """

    kind: str
    detail: str
    trains: bool = False
    evaluates: bool = False


def find_fault(mask: Any, size: tuple[int, int], thorough: bool) -> Fault | None:
    """Hold the mask of an object to what mmdet and pycocotools can read.

    Args:
        mask: The ``segmentation`` of an annotation.
        size: Height and width of the image, in pixels.
        thorough: Whether to decode compressed run lengths.

    Returns:
        What is wrong; None if nothing is.

    Examples:
        >>> find_fault([[1, 1, 5, 1, 5, 5]], size=(8, 8), thorough=False) is None
        True
        >>> find_fault([[1, 1, 5, 1]], size=(8, 8), thorough=False).kind
        'polygon of fewer than 3 points'
    """
    if not mask:
        return Fault('object without a mask', 'its segmentation is missing or empty')
    if isinstance(mask, dict):
        return _fault_of_runs(mask, size, thorough)
    if not isinstance(mask, list) or not all(isinstance(part, list) for part in mask):
        return Fault('damaged mask', 'segmentation is no list of lists of numbers')
    for part in mask:
        if len(part) < _LEAST_NUMBERS or len(part) % 2:
            # pycocotools judges by the first polygon and passes over later ones.
            return Fault(
                'polygon of fewer than 3 points',
                f'{len(part)} numbers',
                trains=True,
                evaluates=len(mask[0]) >= _LEAST_NUMBERS,
            )
    return None


def _fault_of_runs(mask: dict, size: tuple[int, int], thorough: bool) -> Fault | None:
    counts, declared = mask.get('counts'), mask.get('size')
    if declared is None or not isinstance(counts, (list, str)):
        detail = 'counts or size are missing or of a wrong type'
        return Fault('damaged RLE', detail, trains=True)
    if list(declared) != list(size):
        detail = f'{declared} instead of {list(size)} (height, width)'
        return Fault('RLE of another size than its image', detail)
    if isinstance(counts, list):
        if sum(counts) != size[0] * size[1]:
            detail = f'its runs cover {sum(counts)} of {size[0] * size[1]} pixels'
            return Fault('damaged RLE', detail)
    elif thorough:
        try:
            coco_mask.decode(mask)
        except ValueError as error:
            return Fault('damaged RLE', str(error))
    return None


def are_sane(masks: Iterable[list[list[float]]]) -> bool:
    """Whether all coordinates of polygons are numbers that an image may have.

    Args:
        masks: Lists of polygons.

    Returns:
        Whether they are.

    Examples:
        >>> are_sane([[[0, 1, 2, 3]]]), are_sane([[[0, 1, float('nan'), 3]]])
        (True, False)
    """
    polygons = chain.from_iterable(masks)
    try:
        numbers = np.fromiter(chain.from_iterable(polygons), dtype=float)
    except (TypeError, ValueError):
        return False
    return bool((np.abs(numbers) < _FARTHEST).all())
