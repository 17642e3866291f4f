"""Ids that repeat or cannot be used, categories that repeat, and their order."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

from mmrapidnet.datasets.check.coco.annotation_ids import number_annotations
from mmrapidnet.datasets.check.coco.change import Change


def fix_ids(content: dict[str, list], classes: Sequence[str]) -> Iterator[Change]:
    """Give every record an id of its own, and categories the order of the classes.

    Args:
        content: The content of an annotation file, changed in place.
        classes: The classes of the config.

    Yields:
        What was changed.
    """
    yield from _drop_copies(content)
    numbered = [a for a in content['annotations'] if isinstance(a, dict)]
    for old, new in number_annotations(numbered):
        yield Change('new annotation id', f'annotation {old!r}', f'{old!r} -> {new}')
    yield from _drop_empty_namesakes(content)
    yield from _order(content, classes)


def _drop_copies(content: dict[str, list]) -> Iterator[Change]:
    for part in ('images', 'annotations', 'categories'):
        kept, seen = [], defaultdict(list)
        for number, record in enumerate(content[part]):
            alike = seen[_key(part, record)] if _has_id(record) else []
            if _what_counts(part, record) in alike:
                detail = f'the same as an earlier one, id {record["id"]!r}'
                yield Change('repeated record taken away', f'{part}[{number}]', detail)
            else:
                alike.append(_what_counts(part, record))
                kept.append(record)
        content[part] = kept


def _key(part: str, record: dict[str, Any]) -> tuple[str, Any]:
    return part, record['id']


def _has_id(record: Any) -> bool:
    return isinstance(record, dict) and isinstance(record.get('id'), (int, str))


def _what_counts(part: str, record: Any) -> Any:
    """A category is known by its name, whatever else it says."""
    return record.get('name') if part == 'categories' and _has_id(record) else record


def _drop_empty_namesakes(content: dict[str, list]) -> Iterator[Change]:
    """Of categories of one name, take away those that no object is of."""
    categories = [c for c in content['categories'] if _has_id(c)]
    objects = Counter(
        a['category_id']
        for a in content['annotations']
        if isinstance(a, dict) and isinstance(a.get('category_id'), (int, str))
    )
    by_name = defaultdict(list)
    for category in categories:
        by_name[category.get('name')].append(category)
    for name, alike in by_name.items():
        used = [c for c in alike if objects[c['id']]] or alike[:1]
        if len(used) > 1:
            continue
        for category in alike:
            if category is not used[0]:
                content['categories'].remove(category)
                where, detail = f'category {category["id"]!r}', f'{name!r} is also'
                kind = 'category without objects taken away'
                yield Change(kind, where, f'{detail} category {used[0]["id"]!r}')


def _order(content: dict[str, list], classes: Sequence[str]) -> Iterator[Change]:
    places = {name: place for place, name in enumerate(classes)}

    def place(category: Any) -> int:
        name = category.get('name') if isinstance(category, dict) else None
        return places.get(name, len(places)) if isinstance(name, str) else len(places)

    ordered = sorted(content['categories'], key=place)
    if ordered != content['categories']:
        content['categories'] = ordered
        names = ', '.join(str(c.get('name')) for c in ordered if isinstance(c, dict))
        yield Change('order of the categories', 'categories', f'now {names}')
