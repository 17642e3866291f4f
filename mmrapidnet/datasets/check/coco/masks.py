"""Masks of objects in COCO's JSON: polygons and run lengths."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
from pycocotools import mask as coco_mask

from mmrapidnet.datasets.check.coco.records import are_numbers, named
from mmrapidnet.datasets.check.coco.table import CocoTable
from mmrapidnet.datasets.check.problem import FIXABLE, Change, Problem

# pycocotools takes memory in proportion to coordinates; no image is as large.
_FARTHEST = 1e6
_LEAST_NUMBERS = 6  # of three points
# Six bits each, from the digit 0 on.
_RUN_LETTERS = frozenset(map(chr, range(48, 48 + 64)))


class _Fault(NamedTuple):
    """What is wrong with a mask, and whether mmdet and pycocotools live with it."""

    kind: str
    detail: str
    trains: bool = False
    evaluates: bool = False


def check_masks(table: CocoTable) -> Iterator[Problem]:
    """Look for masks that training or evaluation cannot read, or do without."""
    if not table.source.masks:
        return
    evaluated = table.source.evaluated
    read = table.used if evaluated else table.used & ~table.small & ~table.outside
    rows = np.flatnonzero(read)
    masks = [table.annotations[row].get('segmentation') for row in rows]
    if len(masks) > 1 and not any(masks):
        detail = (
            f'its {len(rows):,} objects only have boxes, as some tools export them: '
            'export polygons, or train on boxes, for which set '
            'model.roi_head.mask_head=None, with_mask=False in LoadAnnotations and '
            "metric='bbox' in the evaluators"
        )
        yield table.problem('no object with a mask', detail)
        return
    polygons = {}
    for row, mask in zip(rows, masks):
        fault = _find_fault(mask, table.size_of(row), table.thorough)
        if fault:
            survives = fault.trains and (fault.evaluates or not evaluated)
            detail = f'{fault.detail}{", not learnt from" if survives else ""}'
            yield table.problem(fault.kind, detail, table.name(row), not survives)
        elif isinstance(mask, list):
            polygons[row] = mask
    if not _are_sane(polygons.values()):
        for row, mask in polygons.items():
            if not _are_sane([mask]):
                kind, detail = (
                    'mask with impossible coordinates',
                    'NaN, text or over a million',
                )
                yield table.problem(kind, detail, table.name(row))


def fix_masks(content: dict[str, list]) -> Iterator[Change]:
    """Nest flat polygons, and take away what is none."""
    for where, record in named(content, 'annotations'):
        mask = record.get('segmentation')
        if not isinstance(mask, list) or not mask:
            continue
        nested = _nest_polygons(mask)
        if nested:
            record['segmentation'] = nested
            detail = f'a list of {len(mask)} -> {len(nested)} polygons'
            yield Change('mask as a list of polygons', where, detail)
        elif all(isinstance(part, list) for part in mask):
            kept = [part for part in mask if len(part) >= _LEAST_NUMBERS]
            if kept and len(kept) < len(mask):
                record['segmentation'] = kept
                detail = f'{len(mask)} polygons -> {len(kept)}'
                yield Change('polygon under 3 points taken away', where, detail)


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
    if _find_fault(mask, size, thorough=True):
        return None
    if isinstance(mask, dict):
        left, top, width, height = coco_mask.toBbox(_compress(mask))
        corners = left, top, left + width, top + height
    elif _are_sane([mask]):
        points = np.concatenate([np.reshape(part, (-1, 2)) for part in mask])
        corners = *points.min(0), *points.max(0)
    else:
        return None
    return tuple(float(number) for number in corners)


def area_of(mask: list | dict, size: tuple[int, int]) -> float:
    """Count the pixels of a mask.

    Args:
        mask: The ``segmentation`` of an annotation, which `bounds_of` can read.
        size: Height and width of the image, in pixels.

    Returns:
        How many there are.

    Examples:
        >>> area_of([[1, 2, 5, 2, 5, 6, 1, 6]], size=(8, 16))
        16.0
    """
    if isinstance(mask, list):
        return float(
            coco_mask.area(coco_mask.merge(coco_mask.frPyObjects(mask, *size)))
        )
    return float(coco_mask.area(_compress(mask)))


def _find_fault(mask: Any, size: tuple[int, int], thorough: bool) -> _Fault | None:
    """Hold a mask to what mmdet and pycocotools can read."""
    if not mask:
        return _Fault('object without a mask', 'its segmentation is missing or empty')
    if isinstance(mask, dict):
        return _fault_of_runs(mask, size, thorough)
    if not isinstance(mask, list) or not all(isinstance(part, list) for part in mask):
        detail = 'no list of polygons, each a list of numbers'
        if _nest_polygons(mask):
            detail = f'one flat list instead of polygons, as VIA exports it; {FIXABLE}'
        return _Fault('damaged mask', f'segmentation is {detail}')
    in_pairs = mask[0] and (isinstance(mask[0][0], list) or len(mask[0]) == 2)
    if in_pairs and _nest_polygons(mask):
        detail = f'segmentation has its points in pairs; {FIXABLE}'
        return _Fault('damaged mask', detail)
    for part in mask:
        if len(part) < _LEAST_NUMBERS or len(part) % 2:
            # pycocotools judges by the first polygon and passes over later ones.
            return _Fault(
                'polygon of fewer than 3 points',
                f'{len(part)} numbers',
                trains=True,
                evaluates=len(mask[0]) >= _LEAST_NUMBERS,
            )
    return None


def _nest_polygons(mask: Any) -> list[list[float]] | None:
    """Polygons as COCO has them; None if they are that already, or none.

    Examples:
        >>> _nest_polygons([1, 1, 5, 1, 5, 5])
        [[1, 1, 5, 1, 5, 5]]
        >>> _nest_polygons([[1, 1], [5, 1], [5, 5]])
        [[1, 1, 5, 1, 5, 5]]
        >>> _nest_polygons([[[1, 1], [5, 1], [5, 5]]])
        [[1, 1, 5, 1, 5, 5]]
        >>> _nest_polygons([[1, 1, 5, 1, 5, 5]])
    """
    if not isinstance(mask, list):
        return None
    if len(mask) >= _LEAST_NUMBERS and len(mask) % 2 == 0 and are_numbers(mask):
        return [mask]
    if _are_points(mask):
        return [list(chain.from_iterable(mask))]
    if mask and all(_are_points(part) for part in mask):
        return [list(chain.from_iterable(part)) for part in mask]
    return None


def _are_points(values: Any) -> bool:
    many = isinstance(values, list) and len(values) >= _LEAST_NUMBERS // 2
    return many and all(are_numbers(value, 2) for value in values)


def _fault_of_runs(mask: dict, size: tuple[int, int], thorough: bool) -> _Fault | None:
    counts, declared = mask.get('counts'), mask.get('size')
    if not isinstance(declared, list) or not isinstance(counts, (list, str)):
        detail = 'counts or size are missing or of a wrong type'
        # mmdet takes it for a mask to ignore, but for a size that is no list.
        return _Fault('damaged RLE', detail, trains=declared is None)
    if declared != list(size):
        detail = f'{declared} instead of {list(size)} (height, width)'
        return _Fault('RLE of another size than its image', detail)
    if isinstance(counts, list):
        detail = _fault_of_counts(counts, size[0] * size[1])
    else:
        detail = _fault_of_letters(mask, thorough)
    return _Fault('damaged RLE', detail) if detail else None


def _fault_of_counts(counts: list, pixels: int) -> str | None:
    if not all(isinstance(count, int) and count >= 0 for count in counts):
        return 'its counts are not all whole numbers from 0'
    if sum(counts) != pixels:
        return f'its runs cover {sum(counts)} of {pixels} pixels'
    return None


def _fault_of_letters(mask: dict, thorough: bool) -> str | None:
    strange = [letter for letter in mask['counts'] if letter not in _RUN_LETTERS]
    if strange:
        return f'its counts have the letter {strange[0]!r}'
    if thorough:
        try:
            coco_mask.decode(mask)
        except ValueError as error:
            return str(error)
    return None


def _compress(mask: dict[str, Any]) -> dict[str, Any]:
    """Run lengths as pycocotools computes with them."""
    if isinstance(mask['counts'], list):
        return coco_mask.frPyObjects(mask, *mask['size'])
    return mask


def _are_sane(masks: Iterable[list[list[float]]]) -> bool:
    """Whether all coordinates of polygons are numbers that an image may have.

    Examples:
        >>> _are_sane([[[0, 1, 2, 3]]]), _are_sane([[[0, 1, float('nan'), 3]]])
        (True, False)
    """
    polygons = chain.from_iterable(masks)
    try:
        numbers = np.fromiter(chain.from_iterable(polygons), dtype=float)
    except (TypeError, ValueError):
        return False
    return bool((np.abs(numbers) < _FARTHEST).all())
