"""Reading COCO's JSON, up to whether its records are of the kind expected."""

from __future__ import annotations

import codecs
import json
from functools import cache
from pathlib import Path
from typing import Any

from mmrapidnet.datasets.check.coco.other_formats import name_format, name_text
from mmrapidnet.datasets.check.problem import FIXABLE, Problem
from mmrapidnet.utils.errors import UserError

_FIELDS = {
    'images': ('id', 'file_name', 'height', 'width'),
    'annotations': ('id', 'image_id', 'category_id', 'bbox', 'area'),
    'categories': ('id', 'name'),
}
_IDS = ('id', 'image_id', 'category_id')
_NUMBERS = (int, float)


def read_coco(path: str | Path, annotated: bool = True) -> dict[str, list]:
    """Read an annotation file.

    Args:
        path: The file.
        annotated: Whether objects are needed, which a list of images to predict on
            lacks.  Defaults to True.

    Returns:
        Its content; without objects, ``annotations`` is empty.

    Raises:
        UserError: If it is no such file.
    """
    raw = Path(path).read_bytes()
    try:
        content = json.loads(raw)
    except ValueError as error:
        line = _refusal(path, f'it is no JSON, {error}', name_text(raw))
        raise UserError(line) from error
    if not isinstance(content, dict):
        kind = f'it is a {type(content).__name__}'
        raise UserError(_refusal(path, kind, name_format(content)))
    if not annotated:
        content.setdefault('annotations', [])
    wrong = [part for part in _FIELDS if not isinstance(content.get(part), list)]
    if wrong:
        lacks = f'it has no list of {" and of ".join(wrong)}'
        hint = name_format(content)
        if wrong == ['annotations']:
            hint = (
                'a list of images without objects, as of test-dev: to predict on it, '
                'set format_only=True and outfile_prefix in the evaluator'
            )
        raise UserError(_refusal(path, lacks, hint))
    if any(
        isinstance(a, dict) and 'segments_info' in a for a in content['annotations']
    ):
        hint = "COCO's panoptic format: use type='CocoPanopticDataset'"
        raise UserError(_refusal(path, 'it has segments_info', hint))
    return content


def check_encoding(path: str | Path) -> list[Problem]:
    """Look for the mark that some editors put before JSON.

    Args:
        path: An annotation file.

    Returns:
        The mark, if there is one.
    """
    with open(path, 'rb') as file:
        marked = file.read(len(codecs.BOM_UTF8)) == codecs.BOM_UTF8
    detail = f'pycocotools cannot read it; {FIXABLE}'
    return [Problem('byte-order mark', str(path), detail)] if marked else []


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
    for part in _FIELDS:
        faults = {
            number: fault
            for number, record in enumerate(content[part])
            if (fault := find_record_fault(part, record, evaluated))
        }
        if faults:
            whole = enumerate(content[part])
            content[part] = [r for number, r in whole if number not in faults]
        problems += [
            Problem('damaged record', path, fault, f'{part}[{number}]')
            for number, fault in faults.items()
        ]
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
        'id is [1] instead of a number or a text'
    """
    if not isinstance(record, dict):
        return f'{record!r} is no object'
    wanted = _fields(part, evaluated)
    if not wanted <= record.keys():
        return f'it has no {", ".join(sorted(wanted - record.keys()))}'
    for name in _IDS:
        # A truth value is a number to Python.
        if name in wanted and type(record[name]) not in (int, str):
            return f'{name} is {record[name]!r} instead of a number or a text'
    return _FAULTS[part](record, evaluated)


@cache
def _fields(part: str, evaluated: bool) -> frozenset[str]:
    needs_crowd = evaluated and part == 'annotations'
    return frozenset((*_FIELDS[part], *(['iscrowd'] if needs_crowd else ())))


def _image_fault(record: dict[str, Any], _: bool) -> str | None:
    if not isinstance(record['file_name'], str):
        return f'file_name is {record["file_name"]!r}'
    size = record['height'], record['width']
    if not (_are_numbers(size) and min(size) > 0):
        return f'height and width are {size[0]!r} and {size[1]!r}'
    return None


def _annotation_fault(record: dict[str, Any], evaluated: bool) -> str | None:
    box = record['bbox']
    if not (isinstance(box, list) and len(box) == 4 and _are_numbers(box)):
        return f'bbox is {box!r} instead of four numbers'
    if not isinstance(record['area'], _NUMBERS):
        return f'area is {record["area"]!r}'
    crowd = record.get('iscrowd')
    if crowd is None and not evaluated:
        return None
    if not isinstance(crowd, int) or crowd not in (0, 1):
        why = ' (any text counts as true)' if isinstance(crowd, str) else ''
        return f'iscrowd is {crowd!r} instead of 0 or 1{why}; {FIXABLE}'
    return None


def _category_fault(record: dict[str, Any], _: bool) -> str | None:
    if not isinstance(record['name'], str):
        return f'name is {record["name"]!r} instead of a text'
    return None


_FAULTS = {
    'images': _image_fault,
    'annotations': _annotation_fault,
    'categories': _category_fault,
}


def _are_numbers(values: list | tuple) -> bool:
    return all(isinstance(value, _NUMBERS) for value in values)


def _refusal(path: str | Path, reason: str, hint: str | None) -> str:
    line = (
        f'{path} is not an annotation file in COCO JSON (images, annotations, '
        f'categories): {reason}'.replace('\n', ' ')
    )
    return f'{line}; this is {hint}' if hint else line
