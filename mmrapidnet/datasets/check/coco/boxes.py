"""Boxes of COCO's JSON: their extents, and whether they are written as COCO does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from mmrapidnet.datasets.check.coco.box_conventions import (
    CENTRES,
    COCO,
    CORNERS,
    TOLERANCE,
    UNKNOWN,
    agree,
    are_fractions,
    as_corners,
    contradict,
    find_convention,
    find_convention_by_area,
)
from mmrapidnet.datasets.check.coco.masks import bounds_of
from mmrapidnet.datasets.check.coco.table import CocoTable
from mmrapidnet.datasets.check.problem import FIXABLE, Problem

_SAMPLE = 500  # objects whose masks are looked at before a run
_LEAST_OUTSIDE = 3


def convention_of(table: CocoTable, thorough: bool) -> tuple[str, np.ndarray, list]:
    """Find the convention of a file by the masks of its objects.

    Args:
        table: The records.
        thorough: Whether to look at all masks, not at some hundreds.

    Returns:
        The convention, the rows that were looked at and (N, 4) bounds of their masks.
    """
    rows = np.flatnonzero(table.used & table.finite)
    if not thorough and len(rows) > _SAMPLE:
        rows = rows[np.linspace(0, len(rows) - 1, _SAMPLE).astype(int)]
    found = [bounds_of_row(table, row) for row in rows]
    rows = np.array([r for r, b in zip(rows, found) if b is not None], dtype=int)
    bounds = np.array([b for b in found if b is not None], dtype=float).reshape(-1, 4)
    if not len(rows):
        return COCO, rows, bounds
    return find_convention(table.boxes[rows], bounds), rows, bounds


def bounds_of_row(table: CocoTable, row: int) -> tuple[float, ...] | None:
    """Bounds of the mask of an object.

    Args:
        table: The records.
        row: Which.

    Returns:
        Left, top, right, bottom; None if it has no mask that can be read.
    """
    annotation = table.annotations[row]
    image = table.images[annotation['image_id']]
    size = image['height'], image['width']
    return bounds_of(annotation.get('segmentation'), size)


def check_boxes(table: CocoTable, thorough: bool) -> Iterator[Problem]:
    """Look for boxes without extent, away from their images, or of another convention.

    Args:
        table: The records.
        thorough: Whether to look at every mask.

    Yields:
        What was found.
    """
    yield from _told(
        table,
        'box that is not finite',
        ~table.finite & table.used,
        lambda a: f'bbox {a["bbox"]}, area {a["area"]}',
        stops=True,
    )
    of_all = list(_check_all(table, thorough))
    yield from of_all
    if not any(problem.stops for problem in of_all):
        yield from _check_each(table)


def _check_all(table: CocoTable, thorough: bool) -> Iterator[Problem]:
    """Whether the boxes of the file as a whole are written as COCO has them."""
    if _are_fractions(table):
        yield Problem(
            'boxes as fractions of their images',
            table.path,
            f'none of their {table.used.sum():,} boxes has a number over 1, but COCO '
            'has pixels: multiply them by width and height',
        )
        return
    convention, rows, bounds = convention_of(table, thorough)
    if not len(rows):
        yield from _check_unmasked(table)
        return
    apart = contradict(as_corners(table.boxes[rows], COCO), bounds)
    if convention != COCO:
        if convention == UNKNOWN:
            hint = _say_edges(table.boxes[rows], table.sizes[rows])
            detail = f'{apart.sum():,} of {len(rows):,} boxes contradict their masks'
            detail += f'; {hint}' if hint else ' however they are read'
        else:
            right = agree(as_corners(table.boxes[rows], convention), bounds).sum()
            detail = (
                f'bbox is {convention} instead of {COCO}: so read, {right:,} of '
                f'{len(rows):,} boxes agree with the masks'
            )
        kind, first = 'boxes of another convention', table.name(rows[0])
        yield Problem(kind, table.path, f'{detail}; {FIXABLE}', first)
        return
    for row in rows[apart & ~(table.small | table.outside)[rows]]:
        detail = f'bbox {table.annotations[row]["bbox"]} and mask are used as they are'
        name = table.name(row)
        yield Problem('box unlike its mask', table.path, detail, name, stops=False)


def _are_fractions(table: CocoTable) -> bool:
    rows = table.used & table.finite
    return are_fractions(table.boxes[rows], table.sizes[rows])


def _check_unmasked(table: CocoTable) -> Iterator[Problem]:
    """Tell the convention by areas, or by what would leave its image."""
    rows = np.flatnonzero(table.used & table.finite)
    if not len(rows):
        return
    boxes, areas, sizes = table.boxes[rows], table.areas[rows], table.sizes[rows]
    if find_convention_by_area(boxes, areas) == CORNERS:
        detail = f'bbox is {CORNERS} instead of {COCO}: so it has the area given'
        kind, name = 'boxes of another convention', table.name(rows[0])
        yield Problem(kind, table.path, f'{detail}; {FIXABLE}', name)
        return
    hint = _say_edges(boxes, sizes)
    if hint:
        kind = 'boxes that may be of another convention'
        yield Problem(kind, table.path, hint, stops=False)


def _say_edges(boxes: np.ndarray, sizes: np.ndarray) -> str | None:
    """Name what boxes may be whose images they do not leave, if many do in COCO's."""
    leaving = _leaves(as_corners(boxes, COCO), sizes).sum()
    if leaving < max(_LEAST_OUTSIDE, len(boxes) / 10):
        return None
    fitting = [c for c in (CORNERS, CENTRES) if _fits(as_corners(boxes, c), sizes)]
    if not fitting:
        return None
    return (
        f'{leaving:,} of {len(boxes):,} leave their images, but none does if bbox is '
        f'{" or ".join(fitting)} instead of {COCO}'
    )


def _check_each(table: CocoTable) -> Iterator[Problem]:
    finite, small, outside = table.finite, table.small, table.outside
    if table.source.evaluated:
        empty = (table.boxes[:, 2:] <= 0).any(1)
        flat = {
            'which no predicted box can match': empty,
            'not measured': ~empty & (table.areas < 0),
            'measured as one of the small': ~empty & (table.areas >= 0),
        }
        beside = 'which no predicted box can match'
    else:
        beside = 'left out of training'
        flat = {beside: small}
    for fate, rows in flat.items():
        yield from _told(
            table,
            'box without an extent',
            rows & small & finite,
            lambda a, fate=fate: f'bbox {a["bbox"]}, area {a["area"]}, {fate}',
        )
    yield from _told(
        table,
        'box outside of its image',
        outside & ~small & finite,
        lambda a: f'bbox {a["bbox"]}, {beside}',
    )
    leaving = _leaves(as_corners(table.boxes, COCO), table.sizes)
    yield from _told(
        table,
        'box that leaves its image',
        leaving & table.used & ~outside & ~small & finite,
        lambda a: f'bbox {a["bbox"]}, cut at the edge in training',
    )


def _fits(corners: np.ndarray, sizes: np.ndarray) -> bool:
    """Whether all boxes have an extent and are inside of their images."""
    extents = corners[:, 2:] - corners[:, :2]
    return bool((extents > 0).all() and not _leaves(corners, sizes).any())


def _leaves(corners: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Whether more than a tenth of a box, and more than rounding, is off its image."""
    beyond = np.maximum(-corners[:, :2], corners[:, 2:] - sizes)
    extents = corners[:, 2:] - corners[:, :2]
    return (beyond > np.maximum(TOLERANCE, extents / 10)).any(1)


def _told(
    table: CocoTable,
    kind: str,
    rows: np.ndarray,
    tell: Callable[[dict[str, Any]], str],
    stops: bool = False,
) -> Iterator[Problem]:
    for row in np.flatnonzero(rows):
        detail, name = tell(table.annotations[row]), table.name(row)
        yield Problem(kind, table.path, detail, name, stops)
