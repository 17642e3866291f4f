"""Ids of COCO's JSON: what repeats, what points nowhere, what has another type."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

from mmrapidnet.datasets.check.coco.read import PARTS
from mmrapidnet.datasets.check.coco.records import as_number, named, set_field
from mmrapidnet.datasets.check.coco.table import CocoTable
from mmrapidnet.datasets.check.problem import FIXABLE, Change, Problem

_KINDS = {'images': 'image', 'annotations': 'annotation', 'categories': 'category'}


def check_ids(table: CocoTable) -> Iterator[Problem]:
    """Look for ids and names that stand for several records, or are of another type."""
    for part in PARTS:
        yield from _repeated_ids(table, part)
    yield from _repeated_names(table)
    for part in ('images', 'categories'):
        if len({type(record['id']) for record in table.content[part]}) > 1:
            detail = f'{part} have numbers and texts, which are never equal'
            yield table.problem('ids of several types', detail)
    left_out = 'left out of training and evaluation'
    yield from _dangling(table, 'image_id', 'annotation of no image', 'left out')
    yield from _dangling(table, 'category_id', 'unknown category id', left_out)
    if table.thorough:
        yield from table.problems(
            [not _is_usable(a['id']) for a in table.annotations],
            'annotation id that is no positive number',
            '{id!r}, which pycocotools would never match: another is used in its place',
            stops=False,
        )


def fix_ids(content: dict[str, list]) -> Iterator[Change]:
    """Give every record an id of its own, by which objects name what they are of."""
    for part, field in (('images', 'image_id'), ('categories', 'category_id')):
        yield from _unify(content[part], part)
        yield from _point(content, part, field)
    for part in PARTS:
        yield from _drop_copies(content, part)
    annotations = [annotation for _, annotation in named(content, 'annotations')]
    for old, new in number_annotations(annotations):
        yield Change('new annotation id', f'annotation {old!r}', f'{old!r} -> {new}')


def number_annotations(annotations: Iterable[dict[str, Any]]) -> list[tuple[Any, int]]:
    """Give new ids to annotations whose ids are of no use or taken.

    pycocotools writes the ids of what was found into arrays in which 0 means nothing.

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
        if _is_usable(number) and number not in used:
            used.add(number)
        else:
            others.append(annotation)
    changes = []
    for number, annotation in enumerate(others, max(used, default=0) + 1):
        changes.append((annotation.get('id'), number))
        annotation['id'] = number
    return changes


def has_id(record: Any) -> bool:
    """Whether something is a record with an id, a number or a text."""
    return isinstance(record, dict) and isinstance(record.get('id'), (int, str))


def _is_usable(number: Any) -> bool:
    return isinstance(number, int) and number > 0


def _repeated_ids(table: CocoTable, part: str) -> Iterator[Problem]:
    records = defaultdict(list)
    for record in table.content[part]:
        records[record['id']].append(record)
    for value, (first, *others) in records.items():
        if not others:
            continue
        detail, stops = f'{len(others) + 1} records have it', True
        if part == 'annotations' and first not in others:
            detail, stops = f'{detail}; they are told apart by new ones', False
        if part == 'categories' and all(o['name'] == first['name'] for o in others):
            detail, stops = f'{detail} and the name {first["name"]!r}', False
        kind = _KINDS[part]
        yield table.problem(f'repeated {kind} id', detail, f'{kind} {value!r}', stops)


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
        detail, stops = f'categories {listed} have the name {name!r}', True
        if len(with_objects) > 1:
            detail += ', and all have objects: rename one, or give both one id'
        else:
            found = with_objects or 'none has any'
            detail += f'; the one with objects counts, {found}'
            stops = False
        yield table.problem('repeated category name', detail, stops=stops)
    files = Counter(image['file_name'] for image in table.content['images'])
    for name, count in files.items():
        if count > 1:
            detail = f'{count} images are of the file {name}, which is read as often'
            yield table.problem('repeated file name', detail, stops=False)


def _dangling(table: CocoTable, field: str, kind: str, fate: str) -> Iterator[Problem]:
    """Objects whose image or category is not in the file."""
    owner = field.removesuffix('_id')
    known = table.images if owner == 'image' else table.label_of
    twins = _by_text(known)
    for row, annotation in enumerate(table.annotations):
        value = annotation[field]
        if value in known:
            continue
        twin, name = twins.get(str(value)), table.name(row)
        if twin is None:
            detail = f'{field} {value!r} is in no record, {fate}'
            yield table.problem(kind, detail, name, stops=False)
        else:
            tool = ' (VIA exports it so)' if isinstance(value, str) else ''
            detail = f'{field} is {value!r}, the id of the {owner} {twin!r}{tool}'
            detail = f'{detail}; {FIXABLE}'
            yield table.problem(f'{owner} id of another type', detail, name)


def _by_text(ids: Iterable[int | str]) -> dict[str, int | str]:
    """Ids by how they are written, unless two are written alike: '7' leads to 7."""
    found = defaultdict(list)
    for number in ids:
        found[str(number)].append(number)
    return {text: alike[0] for text, alike in found.items() if len(alike) == 1}


def _unify(records: list, part: str) -> Iterator[Change]:
    """Make ids numbers where some are, and no two become the same."""
    records = [record for record in records if has_id(record)]
    ids = [record['id'] for record in records]
    numbers = [as_number(number) for number in ids]
    if len({type(i) for i in ids}) < 2 or not all(isinstance(n, int) for n in numbers):
        return
    if len(set(numbers)) < len(set(ids)):
        return
    for record in records:
        if isinstance(record['id'], str):
            number = as_number(record['id'])
            where = f'{part[:-1]} {record["id"]!r}'
            yield set_field(record, 'id', number, 'number instead of text', where)


def _point(content: dict[str, list], part: str, field: str) -> Iterator[Change]:
    """Let objects name their image or category as it is called."""
    known = {record['id'] for record in content[part] if has_id(record)}
    twins = _by_text(known)
    for where, record in named(content, 'annotations'):
        value = record.get(field)
        if isinstance(value, (int, str)) and value not in known:
            twin = twins.get(str(value))
            if twin is not None:
                kind = f'{field} of the type of the id'
                yield set_field(record, field, twin, kind, where)


def _drop_copies(content: dict[str, list], part: str) -> Iterator[Change]:
    kept, seen = [], defaultdict(list)
    for number, record in enumerate(content[part]):
        what_counts, alike = record, []
        if has_id(record):
            alike = seen[record['id']]
            if part == 'categories':
                # It is known by its name, whatever else it says.
                what_counts = record.get('name')
        if what_counts in alike:
            detail = f'the same as an earlier one, id {record["id"]!r}'
            yield Change('repeated record taken away', f'{part}[{number}]', detail)
        else:
            alike.append(what_counts)
            kept.append(record)
    content[part] = kept
