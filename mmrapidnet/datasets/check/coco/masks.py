"""Masks of objects in COCO's JSON: polygons and run lengths."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
from pycocotools import mask as coco_mask

from mmrapidnet.datasets.check.problem import FIXABLE

# pycocotools takes memory in proportion to coordinates; no image is as large.
_FARTHEST = 1e6
LEAST_NUMBERS = 6  # of three points
# Six bits each, from the digit 0 on.
_RUN_LETTERS = frozenset(map(chr, range(48, 48 + 64)))


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
        detail = 'no list of polygons, each a list of numbers'
        if nest_polygons(mask):
            detail = f'one flat list instead of polygons, as VIA exports it; {FIXABLE}'
        return Fault('damaged mask', f'segmentation is {detail}')
    in_pairs = mask[0] and (isinstance(mask[0][0], list) or len(mask[0]) == 2)
    if in_pairs and nest_polygons(mask):
        detail = f'segmentation has its points in pairs; {FIXABLE}'
        return Fault('damaged mask', detail)
    for part in mask:
        if len(part) < LEAST_NUMBERS or len(part) % 2:
            # pycocotools judges by the first polygon and passes over later ones.
            return Fault(
                'polygon of fewer than 3 points',
                f'{len(part)} numbers',
                trains=True,
                evaluates=len(mask[0]) >= LEAST_NUMBERS,
            )
    return None


def nest_polygons(mask: Any) -> list[list[float]] | None:
    """Write polygons as COCO has them, if they are nested otherwise.

    Args:
        mask: The ``segmentation`` of an annotation.

    Returns:
        A list of polygons, each a flat list of numbers; None if the mask is that
        already, or nothing of the kind.

    Examples:
        >>> nest_polygons([1, 1, 5, 1, 5, 5])
        [[1, 1, 5, 1, 5, 5]]
        >>> nest_polygons([[1, 1], [5, 1], [5, 5]])
        [[1, 1, 5, 1, 5, 5]]
        >>> nest_polygons([[[1, 1], [5, 1], [5, 5]]])
        [[1, 1, 5, 1, 5, 5]]
        >>> nest_polygons([[1, 1, 5, 1, 5, 5]])
    """
    if not isinstance(mask, list):
        return None
    if len(mask) >= LEAST_NUMBERS and len(mask) % 2 == 0 and _are_numbers(mask):
        return [mask]
    if _are_points(mask):
        return [list(chain.from_iterable(mask))]
    if mask and all(_are_points(part) for part in mask):
        return [list(chain.from_iterable(part)) for part in mask]
    return None


def _are_points(values: Any) -> bool:
    least = LEAST_NUMBERS // 2
    points = isinstance(values, list) and len(values) >= least
    return points and all(
        isinstance(v, list) and len(v) == 2 and _are_numbers(v) for v in values
    )


def _are_numbers(values: list) -> bool:
    return all(isinstance(value, (int, float)) for value in values)


def bounds_of(mask: Any, size: tuple[int, int]) -> tuple[float, ...] | None:
    """Find the extent of a mask.

    Args:
        mask: The ``segmentation`` of an annotation.
        size: Height and width of the image, in pixels.

    Returns:
        Left, top, right and bottom in pixels; None if the mask cannot be read.

    Examples:
        >>> bounds_of([[1, 2, 5, 2, 5, 6], [8, 3, 9, 3, 9, 4]], size=(8, 16))
        (1.0, 2.0, 9.0, 6.0)
        >>> bounds_of({'counts': [8, 4, 20], 'size': [4, 8]}, size=(4, 8))
        (2.0, 0.0, 3.0, 4.0)
    """
    if find_fault(mask, size, thorough=True):
        return None
    if isinstance(mask, dict):
        left, top, width, height = coco_mask.toBbox(compress(mask))
        corners = left, top, left + width, top + height
    elif are_sane([mask]):
        points = np.concatenate([np.reshape(part, (-1, 2)) for part in mask])
        corners = *points.min(0), *points.max(0)
    else:
        return None
    return tuple(float(number) for number in corners)


def compress(mask: dict[str, Any]) -> dict[str, Any]:
    """Write run lengths as pycocotools computes with them.

    Args:
        mask: Run lengths without a fault, as a list or compressed.

    Returns:
        Compressed ones.
    """
    if isinstance(mask['counts'], list):
        return coco_mask.frPyObjects(mask, *mask['size'])
    return mask


def _fault_of_runs(mask: dict, size: tuple[int, int], thorough: bool) -> Fault | None:
    counts, declared = mask.get('counts'), mask.get('size')
    if not isinstance(declared, list) or not isinstance(counts, (list, str)):
        detail = 'counts or size are missing or of a wrong type'
        # mmdet takes it for a mask to ignore, but for a size that is no list.
        return Fault('damaged RLE', detail, trains=declared is None)
    if declared != list(size):
        detail = f'{declared} instead of {list(size)} (height, width)'
        return Fault('RLE of another size than its image', detail)
    detail = _fault_of_counts(counts, size)
    if detail is None and thorough and isinstance(counts, str):
        try:
            coco_mask.decode(mask)
        except ValueError as error:
            detail = str(error)
    return Fault('damaged RLE', detail) if detail else None


def _fault_of_counts(counts: list | str, size: tuple[int, int]) -> str | None:
    if isinstance(counts, str):
        strange = [c for c in counts if c not in _RUN_LETTERS]
        return f'its counts have the letter {strange[0]!r}' if strange else None
    if not all(isinstance(count, int) and count >= 0 for count in counts):
        return 'its counts are not all whole numbers from 0'
    if sum(counts) != size[0] * size[1]:
        return f'its runs cover {sum(counts)} of {size[0] * size[1]} pixels'
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
