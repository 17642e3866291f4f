"""How good the masks of prompts are.

Importing this module registers the metric.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from mmengine.evaluator import BaseMetric
from mmengine.registry import METRICS

from mmrapidnet.utils.errors import UserError


@METRICS.register_module()
class PromptedIoU(BaseMetric):
    """Mean IoU over objects of the masks that `SegmentAnything` gives for prompts.

    Masks are compared in the size that the ground truth has: the image's own, if the
    test pipeline reads annotations after it has resized the image.  Of each kind of
    prompt, 'box', '1_click', '3_clicks' and '5_clicks' by default, it is a fraction.
    An object whose mask is empty does not count; without any other the IoU is NaN.

    Args:
        collect_device: Where results of several processes are collected, 'cpu' or
            'gpu'. Defaults to 'cpu'.
        prefix: What stands before the names of the figures. Defaults to None:
            'prompted_iou'.
    """

    default_prefix = 'prompted_iou'

    def __init__(self, collect_device: str = 'cpu', prefix: str | None = None) -> None:
        super().__init__(collect_device, prefix)

    def process(self, data_batch: Any, data_samples: Sequence[dict[str, Any]]) -> None:
        """Keep the IoU of each object of some samples.

        Raises:
            UserError: If the model is another one.
        """
        for sample in data_samples:
            if 'prompted_masks' not in sample:
                raise UserError(
                    'PromptedIoU is the metric of SegmentAnything; the predictions of '
                    'this model have no prompted_masks'
                )
            truth = sample['gt_instances']['masks'].to_ndarray().astype(bool)
            kept = truth.any((1, 2))
            self.results.append(
                {
                    name: _ious(masks.cpu().numpy()[kept], truth[kept])
                    for name, masks in sample['prompted_masks'].items()
                }
            )

    def compute_metrics(self, results: list[dict[str, np.ndarray]]) -> dict[str, float]:
        """Average over all objects."""
        ious = {
            name: np.concatenate([result[name] for result in results])
            for name in results[0]
        }
        return {
            name: float(values.mean()) if len(values) else float('nan')
            for name, values in ious.items()
        }


def _ious(masks: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Of bool masks (N, H, W) with those of the truth, which are not empty, (N,)."""
    common, union = (masks & truth).sum((1, 2)), (masks | truth).sum((1, 2))
    return common / union
