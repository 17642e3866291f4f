"""Which class was taken for which, counted while a model is tested.

Importing this module registers the metric.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from mmengine.config import Config
from mmengine.evaluator import BaseMetric, Evaluator
from mmengine.registry import METRICS

from mmrapidnet.config.evaluators import add_metric, evaluates_apart, list_metrics
from mmrapidnet.config.load import add_import
from mmrapidnet.config.type_names import type_name
from mmrapidnet.utils.errors import UserError

# Metrics that compare one class with another, and what they count.
_COUNTED = {'IoUMetric': 'pixels', 'Accuracy': 'images', 'SingleLabelMetric': 'images'}


@METRICS.register_module()
class ClassConfusion(BaseMetric):
    """Counts for each class as what it was predicted; gives no figures itself.

    Attributes:
        matrix: How often each class (row) was taken for which (column), int64,
            (classes, classes); None before an evaluation and in all processes but the
            first.

    Args:
        unit: What is counted: 'pixels' of label maps, or 'images'.
        ignore_index: A label that is not counted. Defaults to None.
    """

    default_prefix = 'confusion'

    def __init__(self, unit: str, ignore_index: int | None = None) -> None:
        super().__init__()
        self.unit = unit
        self.ignore_index = ignore_index
        self.matrix: np.ndarray | None = None

    @property
    def classes(self) -> Sequence[str]:
        """Names of the classes, or their numbers as text where the data have none."""
        names = (self.dataset_meta or {}).get('classes')
        return names or [str(number) for number in range(len(self.matrix))]

    def process(self, data_batch: Any, data_samples: Sequence[dict[str, Any]]) -> None:
        """Count the pairs of each sample, which has predictions and ground truth."""
        for sample in data_samples:
            if self.unit == 'pixels':
                truth = sample['gt_sem_seg']['data']
                found = sample['pred_sem_seg']['data']
            else:
                truth = sample['gt_label']
                scores = sample.get('pred_score')
                found = sample['pred_label'] if scores is None else scores.argmax()
            truth, found = (x.cpu().numpy().ravel().astype(int) for x in (truth, found))
            if self.ignore_index is not None:
                counted = truth != self.ignore_index
                truth, found = truth[counted], found[counted]
            self.results.append(_count_pairs(truth, found))

    def compute_metrics(self, results: list[np.ndarray]) -> dict[str, float]:
        """Sum up the counts.

        Args:
            results: Of each sample (truth, prediction, count), (3, pairs).

        Raises:
            UserError: If a class is predicted that the data set does not have.
        """
        truth, found, count = np.concatenate(results, axis=1)
        known = len((self.dataset_meta or {}).get('classes') or ())
        size = known or max(truth.max(), found.max()) + 1
        if found.max(initial=0) >= size:
            raise UserError(
                f'the model predicts class {found.max()}, counted from 0, but the data '
                f'set has {size} classes: num_classes of the head must be as many'
            )
        self.matrix = np.zeros((size, size), np.int64)
        valid = truth < size
        np.add.at(self.matrix, (truth[valid], found[valid]), count[valid])
        return {}


def count_confusion(cfg: Config, evaluator: str) -> bool:
    """Let an evaluator count which class was taken for which, where classes compete.

    Args:
        cfg: The config of a run, changed in place.
        evaluator: 'val_evaluator' or 'test_evaluator'.

    Returns:
        Whether it does: not for detectors, several labels an image, or data sets that
        are evaluated apart.
    """
    given = cfg.get(evaluator)
    counted = next(_counted(list_metrics(given)), None)
    if counted is None or evaluates_apart(given):
        return False
    add_metric(cfg, evaluator, counted)
    add_import(cfg, __name__)
    return True


def find_confusion(evaluator: Evaluator | None) -> ClassConfusion | None:
    """Find what an evaluator has counted.

    Args:
        evaluator: An evaluator, or None.

    Returns:
        The metric; None if there is none or this is not the first process.
    """
    for metric in getattr(evaluator, 'metrics', ()):
        if isinstance(metric, ClassConfusion) and metric.matrix is not None:
            return metric
    return None


def list_class_figures(confusion: ClassConfusion) -> list[dict[str, Any]]:
    """Compute the figures of each class, in percent as the libraries give them.

    Args:
        confusion: What an evaluator has counted.

    Returns:
        A record for each class: IoU and accuracy of pixels; precision, recall, F1 score
        and number of images.  What is a fraction of nothing is None.
    """
    matrix = confusion.matrix
    right, of_class, as_class = matrix.diagonal(), matrix.sum(1), matrix.sum(0)
    if confusion.unit == 'pixels':
        columns = {
            'IoU': _percent(right, of_class + as_class - right),
            'Acc': _percent(right, of_class),
        }
    else:
        columns = {
            'precision': _percent(right, as_class),
            'recall': _percent(right, of_class),
            'f1-score': _percent(2 * right, of_class + as_class),
            'support': of_class.tolist(),
        }
    return [
        {'class': name, **dict(zip(columns, values, strict=True))}
        for name, *values in zip(confusion.classes, *columns.values(), strict=True)
    ]


def _counted(metrics: Iterable[Any]) -> Iterator[dict[str, Any]]:
    for metric in metrics:
        kind = type_name(metric) if isinstance(metric, dict) else None
        if kind in _COUNTED and not metric.get('format_only'):
            counted = dict(type=ClassConfusion.__name__, unit=_COUNTED[kind])
            if kind == 'IoUMetric':
                counted['ignore_index'] = metric.get('ignore_index', 255)
            yield counted


def _count_pairs(truth: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Each pair that occurs and how often: (3, pairs)."""
    size = 1 + max(truth.max(initial=0), found.max(initial=0))
    counts = np.bincount(truth * size + found)
    (pairs,) = counts.nonzero()
    return np.stack([*divmod(pairs, size), counts[pairs]])


def _percent(part: np.ndarray, whole: np.ndarray) -> list[float | None]:
    return [
        round(100 * float(p) / float(w), 2) if w else None
        for p, w in zip(part, whole, strict=True)
    ]
