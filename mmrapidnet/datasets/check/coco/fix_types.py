"""Numbers written as text, ids of another type than what they name, missing flags."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from typing import Any

from mmrapidnet.datasets.check.coco.annotation_ids import by_text
from mmrapidnet.datasets.check.coco.change import Change

_MISSING = object()
_NUMBERS = {'images': ('height', 'width'), 'annotations': ('area',), 'categories': ()}
_IDS = ('id', 'image_id', 'category_id')
_FLAGS = {'0': 0, '1': 1, 'false': 0, 'true': 1, 'none': 0, 'null': 0, '': 0}


def fix_types(content: dict[str, list]) -> Iterator[Change]:
    """Give the fields of records the types that mmdet and pycocotools read.

    Args:
        content: The content of an annotation file, changed in place.

    Yields:
        What was changed.
    """
    for part, names in _NUMBERS.items():
        for number, record in enumerate(content[part]):
            if isinstance(record, dict):
                where = f'{part}[{number}]'
                yield from _fix_record(record, names, where)
                if part == 'annotations':
                    yield from _fix_box_and_crowd(record, where)
    for part, field in (('images', 'image_id'), ('categories', 'category_id')):
        yield from _unify(content[part], part)
        yield from _point(content, part, field)


def as_number(value: Any) -> int | float | None:
    """Read a number that may be written as text.

    Args:
        value: Anything.

    Returns:
        It as a number, whole ones as an integer; None if it is none or not finite.

    Examples:
        >>> as_number('640'), as_number(7.0), as_number('1.5'), as_number('a')
        (640, 7, 1.5, None)
    """
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        number = float(value)
    except ValueError:
        return None
    if not math.isfinite(number):
        return None
    return int(number) if number.is_integer() else number


def _fix_record(record: dict, names: tuple[str, ...], where: str) -> Iterator[Change]:
    for name in names:
        number = as_number(record.get(name))
        if isinstance(record.get(name), str) and number is not None:
            yield _set(record, name, number, 'number instead of text', where)
    for name in _IDS:
        value = record.get(name)
        if isinstance(value, list) and len(value) == 1:
            value = value[0]
            yield _set(record, name, value, 'id instead of a list of one', where)
        if isinstance(value, float) and isinstance(as_number(value), int):
            yield _set(record, name, int(value), 'whole number as id', where)


def _fix_box_and_crowd(record: dict, where: str) -> Iterator[Change]:
    box = record.get('bbox')
    if isinstance(box, list) and any(isinstance(value, str) for value in box):
        numbers = [as_number(value) for value in box]
        if None not in numbers:
            yield _set(record, 'bbox', numbers, 'number instead of text', where)
    crowd = record.get('iscrowd', _MISSING)
    if crowd is _MISSING or crowd is None:
        yield _set(record, 'iscrowd', 0, 'missing iscrowd', where)
    elif isinstance(crowd, str) and crowd.casefold() in _FLAGS:
        flag = _FLAGS[crowd.casefold()]
        yield _set(record, 'iscrowd', flag, 'number instead of text', where)


def _unify(records: list, part: str) -> Iterator[Change]:
    """Make ids numbers where some are, and no two become the same."""
    records = [r for r in records if isinstance(r, dict)]
    ids = [r['id'] for r in records if isinstance(r.get('id'), (int, str))]
    numbers = [as_number(number) for number in ids]
    if len({type(i) for i in ids}) < 2 or not all(isinstance(n, int) for n in numbers):
        return
    if len(set(numbers)) < len(set(ids)):
        return
    for record in records:
        if isinstance(record.get('id'), str):
            number = as_number(record['id'])
            where = f'{part[:-1]} {record["id"]!r}'
            yield _set(record, 'id', number, 'number instead of text', where)


def _point(content: dict[str, list], part: str, field: str) -> Iterator[Change]:
    """Let objects name their image or category as it is called."""
    known = set()
    for record in content[part]:
        with contextlib.suppress(TypeError, KeyError):
            known.add(record['id'])
    twins = by_text(known)
    for number, record in enumerate(content['annotations']):
        value = record.get(field) if isinstance(record, dict) else None
        if isinstance(value, (int, str)) and value not in known:
            twin = twins.get(str(value))
            if twin is not None:
                kind = f'{field} of the type of the id'
                yield _set(record, field, twin, kind, f'annotations[{number}]')


def _set(record: dict, name: str, value: Any, kind: str, where: str) -> Change:
    old = repr(record[name]) if name in record else 'none'
    record[name] = value
    return Change(kind, where, f'{name} {old} -> {value!r}')
