"""Ids of COCO's JSON: which can be used, and which are meant by others."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


def is_usable_id(number: Any) -> bool:
    """Whether evaluation can tell an annotation by its id.

    pycocotools writes the ids of what was found into arrays in which 0 means nothing.

    Args:
        number: The id.

    Returns:
        Whether it is a positive integer.
    """
    return isinstance(number, int) and number > 0


def number_annotations(annotations: Iterable[dict[str, Any]]) -> list[tuple[Any, int]]:
    """Give new ids to annotations whose ids are of no use or taken.

    Args:
        annotations: Records of COCO's JSON, changed in place.

    Returns:
        Each old id, None if there was none, with the new one.

    Examples:
        >>> records = [{'id': 0}, {'id': 7}, {'id': 7}, {'id': 'a'}]
        >>> number_annotations(records)
        [(0, 8), (7, 9), ('a', 10)]
        >>> [record['id'] for record in records]
        [8, 7, 9, 10]
    """
    used, others = set(), []
    for annotation in annotations:
        number = annotation.get('id')
        if is_usable_id(number) and number not in used:
            used.add(number)
        else:
            others.append(annotation)
    changes = []
    for number, annotation in enumerate(others, max(used, default=0) + 1):
        changes.append((annotation.get('id'), number))
        annotation['id'] = number
    return changes


def by_text(ids: Iterable[int | str]) -> dict[str, int | str]:
    """Index ids by how they are written, so that '7' leads to 7.

    Args:
        ids: Numbers and texts.

    Returns:
        Those that no other is written like.

    Examples:
        >>> by_text([7, 8, '8'])
        {'7': 7}
    """
    found: dict[str, list] = {}
    for number in ids:
        found.setdefault(str(number), []).append(number)
    return {text: alike[0] for text, alike in found.items() if len(alike) == 1}
