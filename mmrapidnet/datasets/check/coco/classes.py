"""Categories of COCO's JSON beside the classes of a config."""

from __future__ import annotations

import difflib
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

from mmrapidnet.datasets.check.coco.ids import has_id
from mmrapidnet.datasets.check.coco.table import CocoTable
from mmrapidnet.datasets.check.problem import Change, Problem

_MOST_NAMES = 10


def check_classes(table: CocoTable) -> Iterator[Problem]:
    """Hold the names of the classes to those of the categories.

    A file may lack classes of the config, such as one that only has some of what a
    model tells apart.  It is another matter if it has none of them, or has one in
    another spelling.
    """
    kind = 'classes unlike the categories'
    names = list(dict.fromkeys(c['name'] for c in table.content['categories']))
    missing = [name for name in table.classes if name not in names]
    if len(missing) == len(table.classes):
        few = ', '.join(map(repr, missing[:_MOST_NAMES]))
        if len(missing) > _MOST_NAMES:
            few += f' and {len(missing) - _MOST_NAMES} more'
        detail = (
            f'none of {few} is a category of the file, which has '
            f'{", ".join(map(repr, names))}: put these into `classes` of the config'
        )
        yield table.problem(kind, detail)
        return
    extra = [name for name in names if name not in table.classes]
    # A model of many classes may be tested on anything: only another way of writing
    # the same counts there.
    likeness = 1.0 if table.source.evaluated else 0.6
    for name in missing:
        other = _find_alike(name, extra, likeness)
        if other is not None:
            detail = f'`classes` of the config has {name!r}, the file {other!r}'
            yield table.problem(kind, f'{detail}: write them alike')


def fix_classes(content: dict[str, list], classes: Sequence[str]) -> Iterator[Change]:
    """Leave one category of each name, in the order of the classes of the config."""
    yield from _drop_empty_namesakes(content)
    places = {name: place for place, name in enumerate(classes)}

    def place(category: Any) -> int:
        name = category.get('name') if isinstance(category, dict) else None
        return places.get(name, len(places)) if isinstance(name, str) else len(places)

    ordered = sorted(content['categories'], key=place)
    if ordered != content['categories']:
        content['categories'] = ordered
        names = ', '.join(str(c.get('name')) for c in ordered if isinstance(c, dict))
        yield Change('order of the categories', 'categories', f'now {names}')


def _find_alike(name: str, others: list[str], likeness: float) -> str | None:
    """A name that may be meant by another: 'Traffic_light' by 'traffic light'."""

    def plain(text: str) -> str:
        return ''.join(c for c in text.casefold() if c.isalnum())

    def digits(text: str) -> str:
        return ''.join(c for c in text if c.isdigit())

    # What only differs in its number is numbered, not misspelt.
    known = {plain(o): o for o in others if digits(o) == digits(name)}
    found = difflib.get_close_matches(plain(name), known, n=1, cutoff=likeness)
    return known[found[0]] if found else None


def _drop_empty_namesakes(content: dict[str, list]) -> Iterator[Change]:
    """Of categories of one name, take away those that no object is of."""
    objects = Counter(
        a['category_id']
        for a in content['annotations']
        if isinstance(a, dict) and isinstance(a.get('category_id'), (int, str))
    )
    by_name = defaultdict(list)
    for category in filter(has_id, content['categories']):
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
