"""The metric of prompts, on masks drawn by hand."""

import math

import numpy as np
import pytest
import torch
from mmdet.structures.mask import BitmapMasks
from mmengine.registry import METRICS

from mmrapidnet.engine.prompted_iou import PromptedIoU
from mmrapidnet.utils.errors import UserError


def rows(*counts):
    """Masks of 4 x 5 pixels whose first so many rows are filled."""
    masks = np.zeros((len(counts), 4, 5), bool)
    for mask, count in zip(masks, counts):
        mask[:count] = True
    return masks


def sample(truth, **prompted):
    masks = BitmapMasks(truth.astype(np.uint8), 4, 5)
    return dict(
        gt_instances=dict(masks=masks),
        prompted_masks={name: torch.from_numpy(m) for name, m in prompted.items()},
    )


def evaluate(*samples):
    metric = METRICS.build(dict(type='PromptedIoU'))
    assert isinstance(metric, PromptedIoU)
    for one in samples:
        metric.process({}, [one])
    return metric.evaluate(len(samples))


def test_mean_over_objects_not_images():
    figures = evaluate(
        sample(rows(4, 2), box=rows(4, 1), one=rows(2, 2)),
        sample(rows(1), box=rows(4), one=rows(0)),
    )
    assert figures == {
        'prompted_iou/box': pytest.approx((1 + 1 / 2 + 1 / 4) / 3),
        'prompted_iou/one': pytest.approx((1 / 2 + 1 + 0) / 3),
    }


def test_objects_without_a_pixel_do_not_count():
    empty = sample(rows(), box=rows())
    assert evaluate(sample(rows(2, 0), box=rows(1, 3)), empty) == {
        'prompted_iou/box': 0.5
    }
    assert math.isnan(evaluate(empty)['prompted_iou/box'])


def test_predictions_of_another_model():
    with pytest.raises(UserError, match='metric of SegmentAnything'):
        evaluate(dict(gt_instances=dict()))
