"""Evaluates detectors on the images that were tested.

Reason:
    ``CocoMetric`` evaluates on all images of its annotation file: those that were not
    tested, as by ``indices`` of the data set, count as if nothing had been found in
    them.  It looks ground truth up by the id of an image, so that with another file
    than the data set's it takes that of other images without a word, and where an id
    is missing it ends in an assertion.

Condition:
    mmdet's metric is imported.

What it does:
    ``CocoMetric``, and what derives from it, counts the images there are predictions
    for.  An image that its file does not know, or knows under another name, or that
    comes twice ends the test in one line.
"""

import functools
from collections import Counter
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

from mmrapidnet.compat.when_imported import when_imported
from mmrapidnet.utils.errors import UserError


def apply() -> None:
    """Patch mmdet's ``CocoMetric``."""
    when_imported('mmdet.evaluation.metrics.coco_metric', _patch)


@functools.cache  # once
def _patch(module: ModuleType) -> None:
    metric = module.CocoMetric
    metric.process = _with_paths(metric.process)
    metric.results2json = _of_those_tested(metric.results2json)


def _with_paths(stock: Callable[..., None]) -> Callable[..., None]:
    """Note the file of each image beside what was found in it.

    Which evaluator a sample is for is not known before all results are there: mmdet's
    MultiDatasetsEvaluator shows all of them to each.
    """

    @functools.wraps(stock)
    def process(self: Any, data_batch: Any, data_samples: Sequence[dict]) -> None:
        start = len(self.results)
        stock(self, data_batch, data_samples)
        for (_, result), sample in zip(self.results[start:], data_samples, strict=True):
            result['img_path'] = sample.get('img_path')

    return process


def _of_those_tested(stock: Callable[..., dict]) -> Callable[..., dict]:
    from mmrapidnet.datasets.check.evaluators import find_contradiction

    @functools.wraps(stock)
    def results2json(self: Any, results: Sequence[dict], outfile_prefix: str) -> dict:
        # In the order of the results, as proposals are compared one by one.
        self.img_ids = [result['img_id'] for result in results]
        image, times = Counter(self.img_ids).most_common(1)[0]
        if times > 1:
            raise UserError(
                f'{times} images that were tested have the id {image}: ids of data '
                'sets that are tested together must differ, or each needs an '
                "evaluator of its own (mmdet's MultiDatasetsEvaluator)"
            )
        # LVIS has an interface of its own.
        api = getattr(self, '_coco_api', None) or self._lvis_api
        for result in results:
            path = result.get('img_path')
            fault = find_contradiction(api.imgs, result['img_id'], path)
            if fault:
                raise UserError(
                    f"the evaluator's ann_file is not of the images tested: {fault}"
                )
        return stock(self, results, outfile_prefix)

    return results2json
