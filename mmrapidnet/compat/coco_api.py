"""Lets the labels of COCO's JSON follow the names of its categories.

Reason:
    mmdet numbers the classes of a COCO file in the order of its ``categories`` and not
    of ``classes``, and without those that the file lacks, in the data set and in the
    metrics alike.  A model then learns, or is judged by, the labels of other classes,
    without a word.  A category that is listed twice shifts all that follow.
    The id of a category that is text is read as a list of letters.
    pycocotools writes the id of the annotation that a detection matches into an array
    where 0 means none: an annotation of id 0 is never found, one whose id is text ends
    in ValueError, and of those that share an id only the last is looked at.
    It also puts the categories in the order of their ids, while mmdet reads its figures
    per class in the order of ``classes``.

Condition:
    mmdet is imported.

What it does:
    ``get_cat_ids`` of mmdet's ``COCO`` gives an id for each name that it is asked for,
    in that order; a name that the file lacks gets a category of its own, without
    objects, which evaluation leaves out of every mean (in panoptic annotations it is an
    error).  Of two categories of one name it takes the one that has objects; if both
    have, it is an error.  Annotations whose ids cannot be used get new ones in memory.
    ``COCOeval`` gives its figures in the order it was asked in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from copy import copy
from types import ModuleType
from typing import Any

import numpy as np

from mmrapidnet.compat.patching import when_imported, wrap
from mmrapidnet.datasets.check.coco.ids import number_annotations
from mmrapidnet.utils.errors import UserError

_CATEGORY_AXES = {'precision': 2, 'recall': 1, 'scores': 2}


def apply() -> None:
    """Patch mmdet's ``COCO`` and pycocotools' ``COCOeval``."""
    when_imported('mmdet.datasets.api_wrappers', _patch)


def _patch(module: ModuleType) -> None:
    module.COCO.get_cat_ids = _get_cat_ids
    wrap(module.COCO, 'createIndex', _create_index)
    wrap(module.COCO, 'loadCats', _load_categories)
    wrap(module.COCOeval, 'evaluate', _remember_order)
    wrap(module.COCOevalMP, 'evaluate', _remember_order)
    wrap(module.COCOeval, 'accumulate', _keep_order)


def _get_cat_ids(
    self: Any,
    cat_names: str | Iterable[str] = (),
    sup_names: str | Iterable[str] = (),
    cat_ids: Any = (),
) -> list[int | str]:
    """Give ids of categories; asked for names alone, one for each name, in order."""
    names = [cat_names] if isinstance(cat_names, str) else list(cat_names)
    if not names or sup_names or cat_ids:
        return self.getCatIds(names, sup_names, cat_ids)
    ids: dict[str, list] = {}
    for category in self.dataset['categories']:
        found = ids.setdefault(category['name'], [])
        if category['id'] not in found:
            found.append(category['id'])
    return [
        _choose(self, name, ids[name]) if name in ids else _add_category(self, name)
        for name in names
    ]


def _choose(coco: Any, name: str, ids: list) -> int | str:
    """The id of those called by a name that has objects."""
    with_objects = [number for number in ids if coco.catToImgs.get(number)]
    if len(with_objects) > 1:
        raise UserError(
            f'two categories with objects are called {name!r} in the annotations, of '
            f'ids {ids[0]!r} and {ids[1]!r}: rename one, or give their objects one id'
        )
    return (with_objects or ids)[0]


def _add_category(coco: Any, name: str) -> int | str:
    from mmdet.datasets.api_wrappers import COCOPanoptic

    if isinstance(coco, COCOPanoptic):
        raise UserError(
            f'the panoptic annotations have no category {name!r}, but `classes` of the '
            'config has: panoptic quality needs all of them'
        )
    used = list(coco.cats)
    number = f'no category {name}'
    if all(isinstance(other, int) for other in used):
        number = max(used, default=0) + 1
    category = {'id': number, 'name': name, 'supercategory': ''}
    coco.dataset['categories'].append(category)
    coco.cats[number] = category
    return number


def _create_index(stock: Callable[..., None], self: Any) -> None:
    number_annotations(self.dataset.get('annotations', ()))
    stock(self)


def _load_categories(stock: Callable[..., list], self: Any, ids: Any = ()) -> list:
    return stock(self, [ids] if isinstance(ids, str) else ids)


def _remember_order(stock: Callable[..., None], self: Any) -> None:
    self.asked_cat_ids = list(self.params.catIds)
    stock(self)


def _keep_order(stock: Callable[..., None], self: Any, p: Any = None) -> None:
    stock(self, p)
    asked = getattr(self, 'asked_cat_ids', None)
    if asked is None or p is not None or not self.params.useCats:
        return
    order = np.searchsorted(self.params.catIds, asked)
    for name, axis in _CATEGORY_AXES.items():
        self.eval[name] = self.eval[name].take(order, axis)
    self.eval['params'] = copy(self.params)
    self.eval['params'].catIds = asked
