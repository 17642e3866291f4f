"""What a data set keeps of COCO's JSON: images, and objects of each class."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np

from mmrapidnet.datasets.check.coco.table import CocoTable
from mmrapidnet.datasets.check.problem import Problem

_MOST_NAMES = 10


def check_left(table: CocoTable) -> Iterator[Problem]:
    """Count what is left after everything that mmdet and pycocotools leave out."""
    trains = not table.source.evaluated
    if not table.images or (trains and not table.kept_images):
        yield table.problem('no image left', _lost_images(table))
        return
    if not table.source.annotated:
        return
    chosen = table.labels >= 0
    left = chosen & (table.fates == '')
    if not left.any():
        kind = 'nothing to learn from' if trains else 'nothing to measure'
        yield table.problem(kind, _lost_objects(table, chosen))
        return
    found = np.bincount(table.labels[left], minlength=len(table.classes))
    absent = [label for label, count in enumerate(found) if not count]
    if absent:
        told = [_say_absent(table, label) for label in absent[:_MOST_NAMES]]
        if len(absent) > _MOST_NAMES:
            told.append(f'and {len(absent) - _MOST_NAMES} more')
        fate = 'never learnt' if trains else 'not measured'
        detail = f'{fate}: {", ".join(told)}'
        yield table.problem('class without any object', detail, stops=False)


def _lost_images(table: CocoTable) -> str:
    if not table.images:
        return 'it has no record of an image'
    smallest, sizes = table.source.min_size, table.images.values()
    small = sum(min(i['height'], i['width']) < smallest for i in sizes)
    told = f'filter_cfg leaves out all {len(table.images):,}'
    if small:
        told += f', {small:,} as smaller than min_size={smallest}'
    if small < len(table.images):
        told += f', {len(table.images) - small:,} without an object of the classes'
    return told


def _lost_objects(table: CocoTable, chosen: np.ndarray) -> str:
    if not table.annotations:
        return 'it has no annotation'
    if not chosen.any():
        return f'none of its {len(table.annotations):,} annotations is of a class'
    told = _say_fates(table, chosen)
    return f'of its {chosen.sum():,} objects of the classes {told}'


def _say_absent(table: CocoTable, label: int) -> str:
    name = table.classes[label]
    categories = table.content['categories']
    if name not in (category['name'] for category in categories):
        return f'{name!r} (no such category)'
    rows = table.labels == label
    if rows.any():
        return f'{name!r} ({_say_fates(table, rows)})'
    below = [c['name'] for c in categories if c.get('supercategory') == name]
    if any(other != name for other in below):
        return f'{name!r} (only a group of others, as Roboflow adds: not for `classes`)'
    return f'{name!r} (no annotation)'


def _say_fates(table: CocoTable, rows: np.ndarray) -> str:
    counts = Counter(table.fates[rows]).most_common()
    return ', '.join(f'{count:,} {fate}' for fate, count in counts)
