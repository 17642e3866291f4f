"""What a run ends with: a table to read, and of metrics a file to compute with."""

from __future__ import annotations

import json
import numbers
from pathlib import Path
from typing import Any

from mmengine.dist import master_only
from rich.console import Console
from rich.table import Table

from mmrapidnet.utils.to_json import to_json


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


def report_data_set(statistics: dict[str, dict[str, Any]], title: str) -> None:
    """Print the figures of a data set that was written, with a column for each split.

    Args:
        statistics: For each split its figures, the same of all.
        title: Title of the table.
    """
    table = Table('', *statistics, title=title)
    for figure in next(iter(statistics.values())):
        values = (split[figure] for split in statistics.values())
        table.add_row(figure.replace('_', ' '), *map(str, values))
    Console().print(table)
