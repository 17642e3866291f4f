"""Masks, boxes and areas of objects, as far as one of them tells another."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from pycocotools import mask as coco_mask

from mmrapidnet.datasets.check.coco.box_conventions import (
    COCO,
    UNKNOWN,
    are_fractions,
    as_corners,
    find_convention,
    find_convention_by_area,
)
from mmrapidnet.datasets.check.coco.change import Change
from mmrapidnet.datasets.check.coco.masks import (
    LEAST_NUMBERS,
    bounds_of,
    compress,
    nest_polygons,
)
from mmrapidnet.datasets.check.coco.records import find_record_fault

_DIGITS = 2  # of a box, behind the point


class _Object(NamedTuple):
    record: dict[str, Any]
    where: str
    size: tuple[int, int]  # height and width of its image
    bounds: tuple[float, ...] | None  # of its mask


def fix_shapes(content: dict[str, list]) -> Iterator[Change]:
    """Nest flat masks, take boxes from masks where they are wrong, and fill in areas.

    Args:
        content: The content of an annotation file, changed in place.

    Yields:
        What was changed.
    """
    yield from _fix_masks(content['annotations'])
    yield from _drop_empty(content)
    objects = list(_objects(content))
    convention, fractions = _convention(objects)
    for thing in objects:
        old = thing.record.get('bbox')
        changed = _new_box(thing, convention, fractions)
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


def _fix_masks(annotations: list) -> Iterator[Change]:
    for number, record in enumerate(annotations):
        mask = record.get('segmentation') if isinstance(record, dict) else None
        if not isinstance(mask, list) or not mask:
            continue
        where, nested = f'annotations[{number}]', nest_polygons(mask)
        if nested:
            record['segmentation'] = nested
            detail = f'a list of {len(mask)} -> {len(nested)} polygons'
            yield Change('mask as a list of polygons', where, detail)
        elif all(isinstance(part, list) for part in mask):
            kept = [part for part in mask if len(part) >= LEAST_NUMBERS]
            if kept and len(kept) < len(mask):
                record['segmentation'] = kept
                detail = f'{len(mask)} polygons -> {len(kept)}'
                yield Change('polygon under 3 points taken away', where, detail)


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
    for number, record in enumerate(content['annotations']):
        owner = record.get('image_id') if isinstance(record, dict) else None
        if isinstance(owner, (int, str)) and owner in sizes:
            size = sizes[owner]
            bounds = bounds_of(record.get('segmentation'), size)
            yield _Object(record, f'annotations[{number}]', size, bounds)


def _convention(objects: list[_Object]) -> tuple[str, bool]:
    """How boxes are written, and whether in fractions of their images."""
    known = [o for o in objects if _is_box(o.record.get('bbox'))]
    if not known:
        return COCO, False
    boxes = np.array([o.record['bbox'] for o in known], dtype=float)
    if are_fractions(boxes, np.array([o.size for o in known])):
        return COCO, True
    masked = [row for row, o in enumerate(known) if o.bounds]
    if masked:
        bounds = np.array([known[row].bounds for row in masked])
        return find_convention(boxes[masked], bounds), False
    areas = [o.record.get('area') for o in known]
    if any(_is_wrong_area(area) for area in areas):
        return COCO, False
    return find_convention_by_area(boxes, np.array(areas, dtype=float)), False


def _new_box(
    thing: _Object, convention: str, fractions: bool
) -> tuple[list[float], str] | None:
    """A box in the place of a wrong one, and where it is from."""
    box = thing.record.get('bbox')
    if thing.bounds and (
        fractions or convention != COCO or not _is_box(box) or min(box[2:]) <= 0
    ):
        return _from_corners(np.array(thing.bounds)), 'box from the mask'
    if convention not in (COCO, UNKNOWN) and _is_box(box):
        corners = as_corners(np.array([box], dtype=float), convention)[0]
        return _from_corners(corners), f'box that was {convention}'
    return None


def _from_corners(corners: np.ndarray) -> list[float]:
    start, end = corners[:2], corners[2:]
    return np.hstack([start, end - start]).round(_DIGITS).tolist()


def _area(thing: _Object) -> float:
    if thing.bounds:
        mask, size = thing.record['segmentation'], thing.size
        if isinstance(mask, list):
            mask = coco_mask.merge(coco_mask.frPyObjects(mask, *size))
        else:
            mask = compress(mask)
        area = float(coco_mask.area(mask))
        if area:
            return area
    box = thing.record.get('bbox')
    return round(box[2] * box[3], _DIGITS) if _is_box(box) and min(box[2:]) > 0 else 0


def _is_box(box: Any) -> bool:
    numbers = isinstance(box, list) and len(box) == 4 and _are_numbers(box)
    return numbers and all(map(math.isfinite, box))


def _is_wrong_area(area: Any) -> bool:
    number = isinstance(area, (int, float))
    return not number or not math.isfinite(area) or area <= 0


def _is_product(area: float, box: Any) -> bool:
    """Whether an area was computed from what a wrong box has for its extents."""
    return _is_box(box) and math.isclose(area, box[2] * box[3], rel_tol=0.01)


def _are_numbers(values: list) -> bool:
    return all(isinstance(value, (int, float)) for value in values)
