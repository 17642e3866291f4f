"""Records of COCO's JSON: their fields, and the types of these."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from mmrapidnet.datasets.check.coco.read import PARTS
from mmrapidnet.datasets.check.problem import FIXABLE, Change, Problem

_FIELDS = {
    'images': {'id', 'file_name', 'height', 'width'},
    'annotations': {'id', 'image_id', 'category_id', 'bbox', 'area'},
    'categories': {'id', 'name'},
}
_IDS = ('id', 'image_id', 'category_id')
_NUMBERS = {'images': ('height', 'width'), 'annotations': ('area',), 'categories': ()}
_FLAGS = {'0': 0, '1': 1, 'false': 0, 'true': 1, 'none': 0, 'null': 0, '': 0}


def drop_damaged(content: dict[str, list], path: str, evaluated: bool) -> list[Problem]:
    """Take out the records that lack a field or have one of a wrong type.

    Args:
        content: The content of an annotation file, changed in place.
        path: The file.
        evaluated: Whether pycocotools evaluates on it, which needs ``iscrowd``.

    Returns:
        The damaged records, by their places in the file.
    """
    problems = []
    for part in PARTS:
        kept = []
        for number, record in enumerate(content[part]):
            fault = find_record_fault(part, record, evaluated)
            if fault:
                where = f'{part}[{number}]'
                problems.append(Problem('damaged record', path, fault, where))
            else:
                kept.append(record)
        content[part] = kept
    return problems


def find_record_fault(part: str, record: Any, evaluated: bool) -> str | None:
    """Hold one record to the fields that mmdet and pycocotools read.

    Args:
        part: 'images', 'annotations' or 'categories'.
        record: The record.
        evaluated: Whether pycocotools evaluates on it.

    Returns:
        What is wrong with it; None if nothing is.

    Examples:
        >>> find_record_fault('categories', {'id': [1], 'name': 'cat'}, False)
        'id is [1] instead of a whole number or a text'
    """
    if not isinstance(record, dict):
        return f'{record!r} is no object'
    missing = _FIELDS[part] - record.keys()
    if missing:
        return f'it has no {", ".join(sorted(missing))}'
    for name in _IDS:
        # A truth value is a number to Python.
        if name in _FIELDS[part] and type(record[name]) not in (int, str):
            return f'{name} is {record[name]!r} instead of a whole number or a text'
    if part == 'images':
        return _image_fault(record)
    if part == 'annotations':
        return _annotation_fault(record, needs_crowd=evaluated)
    if not isinstance(record['name'], str):
        return f'name is {record["name"]!r} instead of a text'
    return None


def are_numbers(values: Any, count: int | None = None) -> bool:
    """Whether something is a list of numbers, finite or not, and of a count if given.

    Examples:
        >>> are_numbers([1, 2.5], 2), are_numbers([1, '2']), are_numbers(None)
        (True, False, False)
    """
    return (
        isinstance(values, list)
        and count in (None, len(values))
        and all(isinstance(value, (int, float)) for value in values)
    )


def as_number(value: Any) -> int | float | None:
    """Read a finite number, which may be written as text; whole ones as integers.

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


def set_field(record: dict, name: str, value: Any, kind: str, where: str) -> Change:
    """Give a field of a record, which is called ``where``, another value."""
    old = repr(record[name]) if name in record else 'none'
    record[name] = value
    return Change(kind, where, f'{name} {old} -> {value!r}')


def named(content: dict[str, list], part: str) -> Iterator[tuple[str, dict]]:
    """What is a record in a part of a file, such as 'images', and how it is called."""
    for number, record in enumerate(content[part]):
        if isinstance(record, dict):
            yield f'{part}[{number}]', record


def fix_types(content: dict[str, list]) -> Iterator[Change]:
    """Give the fields of records the types that mmdet and pycocotools read."""
    for part in PARTS:
        for where, record in named(content, part):
            for name, value, kind in _right_types(part, record):
                yield set_field(record, name, value, kind, where)


def _image_fault(record: dict[str, Any]) -> str | None:
    if not isinstance(record['file_name'], str):
        return f'file_name is {record["file_name"]!r}'
    size = [record['height'], record['width']]
    if not (are_numbers(size) and min(size) > 0):
        return f'height and width are {size[0]!r} and {size[1]!r}'
    return None


def _annotation_fault(record: dict[str, Any], needs_crowd: bool) -> str | None:
    if not are_numbers(record['bbox'], 4):
        return f'bbox is {record["bbox"]!r} instead of four numbers'
    if not isinstance(record['area'], (int, float)):
        return f'area is {record["area"]!r}'
    crowd = record.get('iscrowd')
    if crowd is None and not needs_crowd:
        return None
    if 'iscrowd' not in record:
        return f'it has no iscrowd; {FIXABLE}'
    if not isinstance(crowd, int) or crowd not in (0, 1):
        why = ' (any text counts as true)' if isinstance(crowd, str) else ''
        return f'iscrowd is {crowd!r} instead of 0 or 1{why}; {FIXABLE}'
    return None


def _right_types(part: str, record: dict) -> Iterator[tuple[str, Any, str]]:
    """Fields of a record that are to change, their new values, and what that is."""
    from_text = 'number instead of text'
    for name in _NUMBERS[part]:
        number = as_number(record.get(name))
        if isinstance(record.get(name), str) and number is not None:
            yield name, number, from_text
    for name in _IDS:
        value = record.get(name)
        if isinstance(value, list) and len(value) == 1:
            value = value[0]
            yield name, value, 'id instead of a list of one'
        if isinstance(value, float) and isinstance(as_number(value), int):
            yield name, int(value), 'whole number as id'
    if part != 'annotations':
        return
    box = record.get('bbox')
    if isinstance(box, list) and any(isinstance(value, str) for value in box):
        numbers = [as_number(value) for value in box]
        if None not in numbers:
            yield 'bbox', numbers, from_text
    crowd = record.get('iscrowd')
    if crowd is None:
        yield 'iscrowd', 0, 'missing iscrowd'
    elif isinstance(crowd, str) and crowd.casefold() in _FLAGS:
        yield 'iscrowd', _FLAGS[crowd.casefold()], from_text
