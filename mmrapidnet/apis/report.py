"""Metrics at the end of a run: a table to read and a file to compute with."""

from __future__ import annotations

import json
import math
import numbers
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.dist import master_only
from rich.console import Console
from rich.table import Table


@master_only
def report_metrics(
    metrics: dict[str, Any],
    work_dir: str,
    title: str,
    per_class: list[dict[str, Any]] | None = None,
    **context: Any,
) -> None:
    """Print the metrics as a table and write them to ``metrics.json``.

    Args:
        metrics: Name to value.  Detection metrics are fractions, segmentation
            metrics percent, as mmdet and mmsegmentation give them.
        work_dir: Where ``metrics.json`` goes.
        title: Title of the table.
        per_class: A record of figures for each class, for the file alone.
        context: What else the file is to record, such as the checkpoint.
    """
    metrics = to_json(metrics)
    path = Path(work_dir) / 'metrics.json'
    path.parent.mkdir(parents=True, exist_ok=True)
    record = {**to_json(context), 'metrics': metrics}
    if per_class:
        record['per_class'] = to_json(per_class)
    path.write_text(json.dumps(record, indent=2, allow_nan=False) + '\n')

    table = Table('metric', 'value', title=title)
    table.columns[1].justify = 'right'
    for name, value in metrics.items():
        if value is None or isinstance(value, numbers.Number):
            table.add_row(name, '-' if value is None else f'{value:.4f}')
    console = Console()
    console.print(table)
    console.print(f'written to {path}', soft_wrap=True)


def to_json(value: Any) -> Any:
    """Turn metrics into what JSON has a form for.

    Args:
        value: Numbers, text, arrays, tensors and containers of them.

    Returns:
        The same, with None for what is not a finite number, such as the figure of a
        class that does not occur.

    Example:
        >>> to_json({'mIoU': np.float32(0.5), 'IoU': np.array([1, np.nan])})
        {'mIoU': 0.5, 'IoU': [1.0, None]}
    """
    if isinstance(value, dict):
        return {str(name): to_json(part) for name, part in value.items()}
    if isinstance(value, (np.ndarray, torch.Tensor)):
        return to_json(value.tolist())
    if isinstance(value, (list, tuple)):
        return [to_json(part) for part in value]
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real):
        return float(value) if math.isfinite(value) else None
    return None if value is None else str(value)
