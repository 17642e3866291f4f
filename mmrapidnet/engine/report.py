"""Metrics at the end of a run: a table to read and a file to compute with."""

from __future__ import annotations

import json
import numbers
from pathlib import Path
from typing import Any

from mmengine.dist import master_only
from rich.console import Console
from rich.table import Table


@master_only
def report_metrics(
    metrics: dict[str, Any], work_dir: str, title: str, **context: Any
) -> None:
    """Print the metrics as a table and write them to ``metrics.json``.

    Args:
        metrics: Name to value.  Detection metrics are fractions, segmentation
            metrics percent, as mmdet and mmsegmentation give them.
        work_dir: Where ``metrics.json`` goes.
        title: Title of the table.
        context: What else the file is to record, such as the checkpoint.
    """
    numbers_only = {
        name: float(value)
        for name, value in metrics.items()
        if isinstance(value, numbers.Number)
    }
    path = Path(work_dir) / 'metrics.json'
    path.parent.mkdir(parents=True, exist_ok=True)
    record = {**context, 'metrics': numbers_only}
    path.write_text(json.dumps(record, indent=2) + '\n')

    table = Table('metric', 'value', title=title)
    table.columns[1].justify = 'right'
    for name, value in numbers_only.items():
        table.add_row(name, f'{value:.4f}')
    console = Console()
    console.print(table)
    console.print(f'written to {path}', soft_wrap=True)
