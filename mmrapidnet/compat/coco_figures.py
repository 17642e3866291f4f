"""Lets mmdet's ``CocoMetric`` give every figure it is asked for.

Reason:
    Where nothing was detected in a whole data set it gives no figures at all, so that a
    validation seems not to have been and ``save_best`` finds no metric.  With
    ``classwise=True`` the figure of a class has the same name for boxes and for masks,
    so that one of the two is lost, and it is NaN for a class without objects, which is
    no JSON.

Condition:
    mmdet's metric is imported.

What it does:
    No detections are loaded as such, and pycocotools counts each object as missed.
    Figures of a class that are asked for boxes and masks are named as those of all
    classes are, ``bbox_<class>_precision`` and ``segm_<class>_precision``; that of a
    class without objects is None.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from types import ModuleType
from typing import Any

from mmrapidnet.compat.when_imported import when_imported

_OF_A_CLASS = '_precision'


def apply() -> None:
    """Patch mmdet's ``COCO`` and ``CocoMetric``."""
    when_imported('mmdet.evaluation.metrics.coco_metric', _patch)


@functools.cache  # once
def _patch(module: ModuleType) -> None:
    module.COCO.loadRes = _loading_none(module.COCO.loadRes)
    compute = module.CocoMetric.compute_metrics
    module.CocoMetric.compute_metrics = _naming_kinds(compute)


def _loading_none(load: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    @functools.wraps(load)
    def load_results(self: Any, results: Any) -> Any:
        if not isinstance(results, list) or results:
            return load(self, results)
        found = type(self)()
        parts = ('images', 'categories')
        found.dataset = {part: list(self.dataset.get(part, ())) for part in parts}
        found.dataset['annotations'] = []
        found.createIndex()
        return found

    return load_results


def _naming_kinds(
    compute: Callable[[Any, list], dict[str, float]],
) -> Callable[[Any, list], dict[str, float | None]]:
    @functools.wraps(compute)
    def compute_metrics(self: Any, results: list) -> dict[str, float | None]:
        kinds = list(self.metrics)
        if not self.classwise or len(kinds) == 1:
            return _without_nan(compute(self, results))
        figures: dict[str, float | None] = {}
        try:
            for kind in kinds:
                self.metrics = [kind]
                for name, value in _without_nan(compute(self, results)).items():
                    of_a_class = name.endswith(_OF_A_CLASS)
                    figures[f'{kind}_{name}' if of_a_class else name] = value
        finally:
            self.metrics = kinds
        return figures

    return compute_metrics


def _without_nan(figures: dict[str, float]) -> dict[str, float | None]:
    return {name: None if math.isnan(v) else v for name, v in figures.items()}
