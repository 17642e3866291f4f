"""What `mmrapidnet.apis.benchmark` measured, to be read."""

from __future__ import annotations

import torch
from rich.table import Table

from mmrapidnet.apis.benchmark import Benchmark, Settings
from mmrapidnet.utils.env import has_bf16, list_versions, processor_name


def make_table(found: Benchmark, title: str) -> Table:
    """Lay a benchmark out to be read.

    Args:
        found: What was measured.
        title: Title of the table.

    Returns:
        The table, to be printed with rich, without its markup.
    """
    table = Table(title=title)
    table.add_column('what', overflow='fold')
    for name in ('precision', 'median ms', 'p10', 'p90', 'ratio'):
        table.add_column(name, justify='right', no_wrap=True)
    for row in found.rows:
        times = (row.timing.median, row.timing.p10, row.timing.p90)
        milliseconds = (f'{1e3 * seconds:.3f}' for seconds in times)
        table.add_row(row.name, row.precision, *milliseconds, f'{row.ratio:.2f}')
    return table


def describe(found: Benchmark, settings: Settings) -> str:
    """Say what was timed, how, and on what.

    Args:
        found: What was measured.
        settings: How.

    Returns:
        A few lines.
    """
    lines = [
        f'Timed: the network alone ({found.kind}), from a tensor of one drawn image to '
        'the raw outputs; no image file is read or decoded.',
        f'Median, 10th and 90th percentile of {settings.rounds} rounds after '
        f'{settings.warm_up} to warm up; each round calls everything once. Ratio: '
        f'times faster than {found.rows[0].name}, by the medians.',
    ]
    if found.kind == 'detector':
        objects = '; '.join(f'{row.name}: {row.objects}' for row in found.rows)
        lines.append(f'Objects found, which the latency depends on: {objects}.')
    if found.unsettled:
        lines.append(
            f'{found.unsettled} calls began while other threads of the process still '
            'computed.'
        )
    if {'bf16', 'int8'} & {row.precision for row in found.rows} and not has_bf16():
        lines.append('This processor has no bf16: fp32 is computed in its place.')
    if settings.device != 'cpu' and torch.backends.cudnn.allow_tf32:
        lines.append('Convolutions may compute in TF32.')
    versions = ', '.join(f'{name} {number}' for name, number in list_versions().items())
    return '\n'.join([*lines, f'On {processor_name(settings.device)}; {versions}.'])
