"""Boxes of COCO's JSON and their areas: as COCO writes them, and of some extent."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from mmrapidnet.datasets.check.coco.box_conventions import (
    CENTRES,
    COCO,
    CORNERS,
    FRACTIONS,
    TOLERANCE,
    UNKNOWN,
    agree,
    as_corners,
    contradict,
    find_convention,
)
from mmrapidnet.datasets.check.coco.masks import area_of, bounds_of
from mmrapidnet.datasets.check.coco.records import are_numbers, find_record_fault, named
from mmrapidnet.datasets.check.coco.table import CocoTable
from mmrapidnet.datasets.check.problem import FIXABLE, Change, Problem

_SAMPLE = 500  # objects whose masks are looked at before a run
_LEAST_OUTSIDE = 3
_DIGITS = 2  # of a corrected box, behind the point
_NO_BOUNDS = (math.nan,) * 4


def check_boxes(table: CocoTable) -> Iterator[Problem]:
    """Look for boxes of no extent, off their images, or of another convention."""
    infinite, detail = table.used & ~table.finite, 'bbox {bbox}, area {area}'
    yield from table.problems(infinite, 'box that is not finite', detail)
    of_all = list(_check_all(table))
    yield from of_all
    if not any(problem.stops for problem in of_all):
        yield from _check_each(table)


def fix_boxes(content: dict[str, list]) -> Iterator[Change]:
    """Take boxes from masks where they are wrong, and fill in areas."""
    yield from _drop_empty(content)
    objects = list(_objects(content))
    convention = _convention_of(objects)
    for thing in objects:
        old = thing.record.get('bbox')
        changed = _new_box(thing, convention)
        if changed:
            box, why = changed
            thing.record['bbox'] = box
            yield Change(why, thing.where, f'bbox {old} -> {box}')
        area = thing.record.get('area')
        if _is_wrong_area(area) or (changed and _is_product(area, old)):
            new = _area(thing)
            if new and new != area:
                thing.record['area'] = new
                kind = 'area from the mask' if thing.bounds else 'area from the box'
                yield Change(kind, thing.where, f'area {area} -> {new}')


def _check_all(table: CocoTable) -> Iterator[Problem]:
    """Whether the boxes of the file as a whole are written as COCO has them."""
    rows = np.flatnonzero(table.used & table.finite)
    bounds = _bounds(table, rows)
    boxes, sizes = table.boxes[rows], table.sizes[rows]
    convention = find_convention(boxes, bounds, table.areas[rows], sizes)
    if convention == FRACTIONS:
        detail = (
            f'none of their {table.used.sum():,} boxes has a number over 1, but COCO '
            'has pixels: multiply them by width and height'
        )
        yield table.problem('boxes as fractions of their images', detail)
        return
    masked = ~np.isnan(bounds[:, 0])
    if masked.any():
        yield from _check_masked(table, rows[masked], bounds[masked], convention)
        return
    hint = _say_edges(boxes, sizes)
    if convention == CORNERS:
        detail = f'bbox is {CORNERS} instead of {COCO}: so it has the area given'
        yield _of_another_convention(table, rows, detail)
    elif hint:
        kind = 'boxes that may be of another convention'
        yield table.problem(kind, hint, stops=False)


def _check_masked(
    table: CocoTable, rows: np.ndarray, bounds: np.ndarray, convention: str
) -> Iterator[Problem]:
    """Whether boxes are written as COCO has them, which the bounds of masks tell."""
    boxes, count = table.boxes[rows], f'{len(rows):,}'
    apart = contradict(as_corners(boxes), bounds)
    if convention == COCO:
        unlike = np.zeros_like(table.used)
        unlike[rows[apart]] = True
        unlike &= ~(table.small | table.outside)
        detail = 'bbox {bbox} and mask are used as they are'
        yield from table.problems(unlike, 'box unlike its mask', detail, stops=False)
        return
    if convention == UNKNOWN:
        hint = _say_edges(boxes, table.sizes[rows])
        detail = f'{apart.sum():,} of {count} boxes contradict their masks'
        detail += f'; {hint}' if hint else ' however they are read'
    else:
        right = agree(as_corners(boxes, convention), bounds).sum()
        detail = (
            f'bbox is {convention} instead of {COCO}: so read, {right:,} of {count} '
            'boxes agree with the masks'
        )
    yield _of_another_convention(table, rows, detail)


def _of_another_convention(table: CocoTable, rows: np.ndarray, detail: str) -> Problem:
    kind, first = 'boxes of another convention', table.name(rows[0])
    return table.problem(kind, f'{detail}; {FIXABLE}', first)


def _bounds(table: CocoTable, rows: np.ndarray) -> np.ndarray:
    """(N, 4) Bounds of masks, of some hundreds unless thorough; NaN of the others."""
    bounds = np.full((len(rows), 4), np.nan)
    looked_at = range(len(rows))
    if not table.thorough and len(rows) > _SAMPLE:
        looked_at = np.linspace(0, len(rows) - 1, _SAMPLE).astype(int)
    for place in looked_at:
        row = rows[place]
        mask = table.annotations[row].get('segmentation')
        bounds[place] = bounds_of(mask, table.size_of(row)) or _NO_BOUNDS
    return bounds


def _say_edges(boxes: np.ndarray, sizes: np.ndarray) -> str | None:
    """Name what boxes may be whose images they do not leave, if many do in COCO's."""
    leaving = _leaves(as_corners(boxes), sizes).sum()
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
    small, outside = table.small, table.outside
    flat, off = 'box without an extent', 'box outside of its image'
    if table.source.evaluated:
        unmet = 'which no predicted box can match'
        empty = (table.boxes[:, 2:] <= 0).any(1)
        thin, negative = small & ~empty, table.areas < 0
        rules = [
            (flat, small & empty, 'area {area}, ' + unmet),
            (flat, thin & negative, 'area {area}, not measured'),
            (flat, thin & ~negative, 'area {area}, measured as one of the small'),
            (off, outside & ~small, unmet),
        ]
    else:
        rules = [
            (flat, small, 'area {area}, left out of training'),
            (off, outside & ~small, 'left out of training'),
        ]
    leaving = table.used & _leaves(as_corners(table.boxes), table.sizes)
    kind, fate = 'box that leaves its image', 'cut at the edge in training'
    rules.append((kind, leaving & ~outside & ~small, fate))
    for kind, rows, fate in rules:
        rows = rows & table.finite
        yield from table.problems(rows, kind, 'bbox {bbox}, ' + fate, stops=False)


def _fits(corners: np.ndarray, sizes: np.ndarray) -> bool:
    """Whether all boxes have an extent and are inside of their images."""
    extents = corners[:, 2:] - corners[:, :2]
    return bool((extents > 0).all() and not _leaves(corners, sizes).any())


def _leaves(corners: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Whether more than a tenth of a box, and more than rounding, is off its image."""
    beyond = np.maximum(-corners[:, :2], corners[:, 2:] - sizes)
    extents = corners[:, 2:] - corners[:, :2]
    return (beyond > np.maximum(TOLERANCE, extents / 10)).any(1)


class _Object(NamedTuple):
    record: dict[str, Any]
    where: str
    size: tuple[int, int]  # height and width of its image
    bounds: tuple[float, ...] | None  # of its mask


def _drop_empty(content: dict[str, list]) -> Iterator[Change]:
    """Take away what has neither a mask nor any extent, as an unfinished click has."""
    kept = []
    for number, record in enumerate(content['annotations']):
        box = record.get('bbox') if isinstance(record, dict) else None
        if _is_box(box) and box[2:] == [0, 0] and not record.get('segmentation'):
            kind, detail = 'empty annotation taken away', f'bbox {box}, no mask'
            yield Change(kind, f'annotations[{number}]', detail)
        else:
            kept.append(record)
    content['annotations'] = kept


def _objects(content: dict[str, list]) -> Iterator[_Object]:
    sizes = {
        image['id']: (image['height'], image['width'])
        for image in content['images']
        if not find_record_fault('images', image, evaluated=False)
    }
    for where, record in named(content, 'annotations'):
        owner = record.get('image_id')
        if isinstance(owner, (int, str)) and owner in sizes:
            bounds = bounds_of(record.get('segmentation'), sizes[owner])
            yield _Object(record, where, sizes[owner], bounds)


def _convention_of(objects: list[_Object]) -> str:
    known = [o for o in objects if _is_box(o.record.get('bbox'))]
    boxes = np.array([o.record['bbox'] for o in known], dtype=float)
    bounds = np.array([o.bounds or _NO_BOUNDS for o in known]).reshape(-1, 4)
    areas = [o.record.get('area') for o in known]
    if any(map(_is_wrong_area, areas)):
        areas = [math.nan] * len(known)
    sizes = np.array([o.size for o in known])
    return find_convention(boxes, bounds, np.array(areas, dtype=float), sizes)


def _new_box(thing: _Object, convention: str) -> tuple[list[float], str] | None:
    """A box in the place of a wrong one, and where it is from."""
    box = thing.record.get('bbox')
    if thing.bounds:
        if convention != COCO or not _is_box(box) or min(box[2:]) <= 0:
            return _from_corners(np.array(thing.bounds)), 'box from the mask'
    elif convention in (CORNERS, CENTRES) and _is_box(box):
        corners = as_corners(np.array([box], dtype=float), convention)[0]
        return _from_corners(corners), f'box that was {convention}'
    return None


def _from_corners(corners: np.ndarray) -> list[float]:
    start, end = corners[:2], corners[2:]
    return np.hstack([start, end - start]).round(_DIGITS).tolist()


def _area(thing: _Object) -> float:
    area = area_of(thing.record['segmentation'], thing.size) if thing.bounds else 0
    box = thing.record.get('bbox')
    if not area and _is_box(box) and min(box[2:]) > 0:
        return round(box[2] * box[3], _DIGITS)
    return area


def _is_box(box: Any) -> bool:
    return are_numbers(box, 4) and all(map(math.isfinite, box))


def _is_wrong_area(area: Any) -> bool:
    number = isinstance(area, (int, float))
    return not number or not math.isfinite(area) or area <= 0


def _is_product(area: float, box: Any) -> bool:
    """Whether an area was computed from what a wrong box has for its extents."""
    return _is_box(box) and math.isclose(area, box[2] * box[3], rel_tol=0.01)
