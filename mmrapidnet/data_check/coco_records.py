"""Reading COCO's JSON, up to whether its records are of the kind expected."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mmrapidnet.data_check.problem import Problem
from mmrapidnet.errors import UserError

_FIELDS = {
    'images': ('id', 'file_name', 'height', 'width'),
    'annotations': ('id', 'image_id', 'category_id', 'bbox', 'area'),
    'categories': ('id', 'name'),
}
_IDS = (int, str)
_NUMBERS = (int, float)


def read_coco(path: str | Path, classes: tuple[str, ...]) -> dict[str, list]:
    """Read an annotation file.

    Args:
        path: The file.
        classes: The classes of the config.

    Returns:
        Its content.

    Raises:
        UserError: If it is no such file, or does not know one of the classes.
    """
    try:
        content = json.loads(Path(path).read_bytes())
        categories = [category['name'] for category in content['categories']]
        if not all(isinstance(content[part], list) for part in _FIELDS):
            raise TypeError('not lists')
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f'{path} is not an annotation file in COCO JSON (images, annotations, '
            f'categories): {type(error).__name__} {error}'.replace('\n', ' ')
        ) from error
    # mmdet drops the objects of classes it does not know without a word.
    unknown = sorted(set(classes) - set(categories))
    if unknown:
        raise UserError(
            f'{path} has no category {", ".join(unknown)}: its categories are '
            f'{", ".join(map(str, categories))}; put these into `classes` of the config'
        )
    return content


def drop_damaged(content: dict[str, list], path: str, evaluated: bool) -> list[Problem]:
    """Take out the records that lack a field or have one of a wrong type.

    Args:
        content: The content of an annotation file, changed in place.
        path: The file.
        evaluated: Whether pycocotools evaluates on it, which needs ``iscrowd``.

    Returns:
        The damaged records, by their places in the file.
    """
    fields = {part: frozenset(names) for part, names in _FIELDS.items()}
    if evaluated:
        fields['annotations'] |= {'iscrowd'}
    problems = []
    for part, wanted in fields.items():
        faults = {
            number: fault
            for number, record in enumerate(content[part])
            if (fault := _fault(record, wanted))
        }
        if faults:
            whole = enumerate(content[part])
            content[part] = [r for number, r in whole if number not in faults]
        problems += [
            Problem('damaged record', path, fault, f'{part}[{number}]')
            for number, fault in faults.items()
        ]
    return problems


def _fault(record: Any, wanted: frozenset[str]) -> str | None:
    if not isinstance(record, dict):
        return f'{record!r} is no object'
    if not wanted <= record.keys():
        return f'it has no {", ".join(sorted(wanted - record.keys()))}'
    if not isinstance(record['id'], _IDS):
        return f'id is {record["id"]!r}'
    if 'bbox' in wanted:
        box = record['bbox']
        if not (isinstance(box, list) and len(box) == 4 and _are_numbers(box)):
            return f'bbox is {box!r} instead of four numbers'
        if not isinstance(record['area'], _NUMBERS):
            return f'area is {record["area"]!r}'
        if not isinstance(record['image_id'], _IDS):
            return f'image_id is {record["image_id"]!r}'
    if 'file_name' in wanted:
        if not isinstance(record['file_name'], str):
            return f'file_name is {record["file_name"]!r}'
        size = record['height'], record['width']
        if not (_are_numbers(size) and min(size) > 0):
            return f'height and width are {size[0]!r} and {size[1]!r}'
    return None


def _are_numbers(values: list | tuple) -> bool:
    return all(isinstance(value, _NUMBERS) for value in values)
