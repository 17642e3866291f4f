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
    Without ``use_mp_eval`` its ``mAP`` is of 100 detections per image, whatever
    ``proposal_nums`` says, and -1 where 100 is none of them; ``mAP_50`` and the others
    count as many as the last says.

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
    Where 100 is none of ``proposal_nums``, ``mAP`` counts as many detections as the
    others do: the last of them.  An image with more than 100 objects needs it.
"""

from __future__ import annotations

import io
import math
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from types import ModuleType
from typing import Any

from mmrapidnet.compat.patching import when_imported, wrap
from mmrapidnet.datasets.check.evaluators import find_contradiction
from mmrapidnet.utils.errors import UserError

# Detections an image that COCO's AP counts.
_USUAL = 100


def apply() -> None:
    """Patch mmdet's ``CocoMetric``, and ``COCO`` for it."""
    when_imported('mmdet.evaluation.metrics.coco_metric', _patch)


def _patch(module: ModuleType) -> None:
    wrap(module.CocoMetric, 'process', _note_paths)
    wrap(module.CocoMetric, 'results2json', _take_those_tested)
    wrap(module.CocoMetric, 'compute_metrics', _name_kinds)
    wrap(module.COCO, 'loadRes', _load_results)
    wrap(module.COCOeval, 'summarize', _count_all)


def count_detections(proposal_nums: Sequence[int]) -> int:
    """Say how many detections per image the ``mAP`` of ``CocoMetric`` counts.

    Args:
        proposal_nums: That of the metric.

    Returns:
        100 if it is among them, as it is by default; else the last.

    Examples:
        >>> count_detections((100, 300, 1000)), count_detections((1, 10, 500))
        (100, 500)
    """
    return _USUAL if _USUAL in proposal_nums else proposal_nums[-1]


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


def _count_all(stock: Callable[..., None], self: Any) -> None:
    counted = count_detections(self.params.maxDets)
    if counted == _USUAL:
        stock(self)
        return
    with redirect_stdout(io.StringIO()) as said:
        stock(self)
    # Objects of any size, and the most detections.
    precision = self.eval['precision'][..., 0, -1]
    known = precision[precision > -1]
    self.stats[0] = known.mean() if known.size else -1
    missing, found = (
        f'maxDets={number:>3d} ] = {value:0.3f}'
        for number, value in ((_USUAL, -1), (counted, self.stats[0]))
    )
    print(said.getvalue().replace(missing, found, 1), end='')


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
