"""What a backbone costs: time in training, parameters and multiply-accumulates."""

from __future__ import annotations

import json
import statistics
from copy import deepcopy
from pathlib import Path

import torch
from torch import nn

from dev.model_zoo.classifiers import Complexity
from dev.subprocess_steps import relpath
from mmrapidnet.apis.complexity import count_macs
from mmrapidnet.utils.errors import UserError


def median_seconds(work_dir: Path) -> float:
    """The median of the seconds per iteration that a training logged.

    Args:
        work_dir: The folder of the run; its first logged iterations, in which the
            process warms up, do not count.

    Returns:
        Seconds per iteration.

    Raises:
        UserError: If fewer than two were logged.
    """
    logs = sorted(work_dir.glob('*/vis_data/scalars.json'))
    lines = logs[-1].read_text().splitlines() if logs else []
    records = [json.loads(line) for line in lines]
    # Validation logs a time as well, but no loss.
    seconds = [record['time'] for record in records if 'loss' in record]
    if len(seconds) < 2:
        raise UserError(
            f'{relpath(work_dir)} logged {len(seconds)} times of training iterations, '
            'at least 2 are needed: delete the folder and compare again'
        )
    return statistics.median(seconds[1:])


def measure_used(backbone: nn.Module, size: tuple[int, int]) -> Complexity:
    """Count what a backbone costs without the layers its outputs do not depend on.

    Args:
        backbone: From images to a tuple of feature maps; it is left as it is.
        size: Height and width of the image in pixels.

    Returns:
        Its parameters and multiply-accumulates.
    """
    # Wrapped, since mmpretrain's own `train` and `eval` return nothing.
    model = nn.Sequential(deepcopy(backbone)).eval().requires_grad_(True)
    features = model(torch.zeros(1, 3, *size))
    sum(feature.sum() for feature in features).backward()
    reached = [p.numel() for p in model.parameters() if p.grad is not None]
    # What no output depends on is not in the traced graph, so its operations do not
    # count either.
    return Complexity(sum(reached), count_macs(model, size))
