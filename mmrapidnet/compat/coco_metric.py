"""Lets mmdet's ``CocoMetric`` judge the images that were tested, in every figure.

Reason:
    It evaluates on all images of its annotation file: those that were not tested, as by
    ``indices`` of the data set, count as if nothing had been found in them.  It looks
    ground truth up by the id of an image, so that with another file than the data set's
    it takes that of other images without a word, and where an id is missing it ends in
    an assertion.
    Where nothing was detected in a whole data set it gives no figures at all, so that a
    validation seems not to have been and ``save_best`` finds no metric.  With
    ``classwise=True`` the figure of a class has the same name for boxes and for masks,
    so that one of the two is lost, and it is NaN for a class without objects, which is
    no JSON.

Condition:
    mmdet's metric is imported.

What it does:
    ``CocoMetric``, and what derives from it, counts the images there are predictions
    for.  An image that its file does not know, or knows under another name, or that
    comes twice ends the test in one line.
    No detections are loaded as such, and pycocotools counts each object as missed.
    Figures of a class that are asked for boxes and masks are named as those of all
    classes are, ``bbox_<class>_precision`` and ``segm_<class>_precision``; that of a
    class without objects is None.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

from mmrapidnet.compat.patching import when_imported, wrap
from mmrapidnet.datasets.check.evaluators import find_contradiction
from mmrapidnet.utils.errors import UserError


def apply() -> None:
    """Patch mmdet's ``CocoMetric``, and ``COCO`` for it."""
    when_imported('mmdet.evaluation.metrics.coco_metric', _patch)


def _patch(module: ModuleType) -> None:
    wrap(module.CocoMetric, 'process', _note_paths)
    wrap(module.CocoMetric, 'results2json', _take_those_tested)
    wrap(module.CocoMetric, 'compute_metrics', _name_kinds)
    wrap(module.COCO, 'loadRes', _load_results)


def _note_paths(
    stock: Callable[..., None], self: Any, data_batch: Any, data_samples: Sequence[dict]
) -> None:
    """Note the file of each image beside what was found in it.

    Which evaluator a sample is for is not known before all results are there: mmdet's
    MultiDatasetsEvaluator shows all of them to each.
    """
    start = len(self.results)
    stock(self, data_batch, data_samples)
    for (_, result), sample in zip(self.results[start:], data_samples, strict=True):
        result['img_path'] = sample.get('img_path')


def _take_those_tested(
    stock: Callable[..., dict], self: Any, results: Sequence[dict], outfile_prefix: str
) -> dict:
    # In the order of the results, as proposals are compared one by one.
    self.img_ids = [result['img_id'] for result in results]
    image, times = Counter(self.img_ids).most_common(1)[0]
    if times > 1:
        raise UserError(
            f'{times} images that were tested have the id {image}: ids of data sets '
            'that are tested together must differ, or each needs an evaluator of its '
            "own (mmdet's MultiDatasetsEvaluator)"
        )
    # LVIS has an interface of its own.
    api = getattr(self, '_coco_api', None) or self._lvis_api
    for result in results:
        fault = find_contradiction(api.imgs, result['img_id'], result.get('img_path'))
        if fault:
            raise UserError(
                f"the evaluator's ann_file is not of the images tested: {fault}"
            )
    return stock(self, results, outfile_prefix)


def _load_results(stock: Callable[..., Any], self: Any, results: Any) -> Any:
    if not isinstance(results, list) or results:
        return stock(self, results)
    found = type(self)()
    parts = ('images', 'categories')
    found.dataset = {part: list(self.dataset.get(part, ())) for part in parts}
    found.dataset['annotations'] = []
    found.createIndex()
    return found


def _name_kinds(
    stock: Callable[..., dict[str, float]], self: Any, results: list
) -> dict[str, float | None]:
    kinds = list(self.metrics)
    if not self.classwise or len(kinds) == 1:
        return _without_nan(stock(self, results))
    figures: dict[str, float | None] = {}
    try:
        for kind in kinds:
            self.metrics = [kind]
            for name, value in _without_nan(stock(self, results)).items():
                of_a_class = name.endswith('_precision')
                figures[f'{kind}_{name}' if of_a_class else name] = value
    finally:
        self.metrics = kinds
    return figures


def _without_nan(figures: dict[str, float]) -> dict[str, float | None]:
    return {name: None if math.isnan(v) else v for name, v in figures.items()}
