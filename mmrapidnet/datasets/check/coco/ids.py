"""Ids and names in COCO's JSON: what repeats, what points nowhere, what is misspelt."""

from __future__ import annotations

import difflib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

from mmrapidnet.datasets.check.coco.annotation_ids import by_text, is_usable_id
from mmrapidnet.datasets.check.coco.table import CocoTable
from mmrapidnet.datasets.check.problem import FIXABLE, Problem


def check_ids(table: CocoTable, thorough: bool) -> Iterator[Problem]:
    """Look for ids and names that stand for several records, or are of another type.

    Args:
        table: The records.
        thorough: Whether to tell what has no effect, too.

    Yields:
        What was found.
    """
    yield from _repeated_ids(table)
    yield from _repeated_names(table)
    for part in ('images', 'categories'):
        kinds = {type(record['id']).__name__ for record in table.content[part]}
        if len(kinds) > 1:
            kind, detail = 'ids of several types', f'{part} have numbers and texts'
            yield Problem(kind, table.path, f'{detail}, which are never equal')
    yield from _dangling(table)
    if thorough:
        for row, annotation in enumerate(table.annotations):
            if not is_usable_id(annotation['id']):
                kind = 'annotation id that is no positive number'
                detail = f'{annotation["id"]!r}, which pycocotools would never match'
                fate = f'{detail}: another is used in its place'
                yield Problem(kind, table.path, fate, table.name(row), stops=False)


def check_classes(table: CocoTable) -> Iterator[Problem]:
    """Hold the names of the classes to those of the categories.

    A file may lack classes of the config, such as one that only has some of what a
    model tells apart.  It is another matter if it has none of them, or has one in
    another spelling.

    Args:
        table: The records.

    Yields:
        What was found.
    """
    names = list(dict.fromkeys(c['name'] for c in table.content['categories']))
    missing = [name for name in table.classes if name not in names]
    kind, known = 'classes unlike the categories', ', '.join(map(repr, names))
    if len(missing) == len(table.classes):
        detail = (
            f'none of {_few(missing)} is a category of the file, which has {known}: '
            'put these into `classes` of the config'
        )
        yield Problem(kind, table.path, detail)
        return
    extra = [name for name in names if name not in table.classes]
    # A model of many classes may be tested on anything: only another way of writing
    # the same counts there.
    likeness = 1.0 if table.source.evaluated else 0.6
    for name in missing:
        for other in _alike(name, extra, likeness):
            detail = f'`classes` of the config has {name!r}, the file {other!r}'
            yield Problem(kind, table.path, f'{detail}: write them alike')


def _repeated_ids(table: CocoTable) -> Iterator[Problem]:
    for part, kind in (
        ('images', 'image'),
        ('annotations', 'annotation'),
        ('categories', 'category'),
    ):
        records = defaultdict(list)
        for record in table.content[part]:
            records[record['id']].append(record)
        for value, alike in records.items():
            if len(alike) == 1:
                continue
            first, *others = alike
            same = first in others
            detail, stops = f'{len(alike)} records have it', True
            if part == 'annotations' and not same:
                detail, stops = f'{detail}; they are told apart by new ones', False
            if part == 'categories' and all(o['name'] == first['name'] for o in others):
                detail, stops = f'{detail} and the name {first["name"]!r}', False
            record = f'{kind} {value!r}'
            yield Problem(f'repeated {kind} id', table.path, detail, record, stops)


def _repeated_names(table: CocoTable) -> Iterator[Problem]:
    ids = defaultdict(set)
    for category in table.content['categories']:
        ids[category['name']].add(category['id'])
    objects = Counter(a['category_id'] for a in table.annotations)
    for name, alike in ids.items():
        if len(alike) == 1:
            continue
        with_objects = [number for number in alike if objects[number]]
        listed = ', '.join(map(repr, sorted(alike, key=str)))
        detail = f'categories {listed} have the name {name!r}'
        if len(with_objects) < 2:
            used = f'the one with objects counts, {with_objects or "none has any"}'
            detail, stops = f'{detail}; {used}', False
        else:
            used = 'all have objects: rename one, or give both one id'
            detail, stops = f'{detail}, and {used}', True
        yield Problem('repeated category name', table.path, detail, stops=stops)
    for name, count in _several(i['file_name'] for i in table.content['images']):
        detail = f'{count} images are of the file {name}, which is read as often'
        yield Problem('repeated file name', table.path, detail, stops=False)


def _dangling(table: CocoTable) -> Iterator[Problem]:
    """Objects whose image or category is not in the file."""
    for field, known, kind, unknown, fate in (
        ('image_id', table.images, 'image', 'annotation of no image', 'left out'),
        (
            'category_id',
            table.label_of,
            'category',
            'unknown category id',
            'left out of training and evaluation',
        ),
    ):
        twins = by_text(known)
        for row, annotation in enumerate(table.annotations):
            value = annotation[field]
            if value in known:
                continue
            twin, name = twins.get(str(value)), table.name(row)
            if twin is None:
                detail = f'{field} {value!r} is in no record, {fate}'
                yield Problem(unknown, table.path, detail, name, stops=False)
            else:
                tool = ' (VIA exports it so)' if isinstance(value, str) else ''
                detail = f'{field} is {value!r}, the id of the {kind} {twin!r}{tool}'
                detail = f'{detail}; {FIXABLE}'
                yield Problem(f'{kind} id of another type', table.path, detail, name)


def _alike(name: str, others: list[str], likeness: float) -> list[str]:
    """Names that may be meant by another: 'Traffic_light' by 'traffic light'."""

    def plain(text: str) -> str:
        return ''.join(c for c in text.casefold() if c.isalnum())

    def digits(text: str) -> str:
        return ''.join(c for c in text if c.isdigit())

    # What only differs in its number is numbered, not misspelt.
    known = {plain(o): o for o in others if digits(o) == digits(name)}
    found = difflib.get_close_matches(plain(name), known, n=1, cutoff=likeness)
    return [known[text] for text in found]


def _few(names: list[str], most: int = 10) -> str:
    rest = f' and {len(names) - most} more' if len(names) > most else ''
    return f'{", ".join(map(repr, names[:most]))}{rest}'


def _several(values: Iterable[Any]) -> list[tuple[Any, int]]:
    return [(value, count) for value, count in Counter(values).items() if count > 1]
