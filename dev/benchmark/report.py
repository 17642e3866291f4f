"""What a benchmark measured, for the terminal, for a page and for other programs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from typing import Any

from dev.benchmark.rounds import Row
from dev.model_zoo import markdown
from mmrapidnet.utils.errors import UserError

COLUMNS = (
    'model',
    'runtime',
    'size',
    'batch',
    'median ms',
    'p10',
    'p90',
    'ratio',
    'images/s',
    'memory MB',
    'params M',
    'GMACs',
    '% of peak',
)
_LEFT_ALIGNED = 3
# Versions that the tables tell; the file has all.
_TOLD = ('torch', 'onnxruntime', 'openvino', 'ncnn', 'timm', 'mmpretrain')
_BEGIN = '<!-- benchmark: made by python -m dev.benchmark -->'
_END = '<!-- end of benchmark -->'


def write_json(record: dict[str, Any], path: Path) -> None:
    """Write what was measured, every call of it.

    Args:
        record: As `rounds.run` returns it.
        path: The file to write.
    """
    content = {**record, 'rows': [asdict(row) for row in record['rows']]}
    path.write_text(json.dumps(content, indent=1) + '\n', encoding='utf-8')


def read_json(path: Path) -> dict[str, Any]:
    """Read what `write_json` wrote.

    Args:
        path: The file.

    Returns:
        The record.

    Raises:
        UserError: If there is no such file, or it holds something else.
    """
    if not path.is_file():
        raise UserError(f'there is no {path}: give a file that this tool wrote')
    try:
        record = json.loads(path.read_text(encoding='utf-8'))
        rows = [
            Row(**{**row, 'size': tuple(row['size']), 'seconds': tuple(row['seconds'])})
            for row in record['rows']
        ]
        return {
            **{key: record[key] for key in ('command', 'machine', 'versions')},
            'settings': record['settings'],
            'missing': record.get('missing', {}),
            'rows': rows,
        }
    except (ValueError, TypeError, KeyError) as error:
        raise UserError(
            f'{path} is no result of this tool (benchmark.json): {error}'
        ) from error


def print_tables(record: dict[str, Any]) -> None:
    """Print a table for each section.

    Args:
        record: As `rounds.run` returns it.
    """
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    # Cells that are cut would be worse than lines longer than the terminal.
    console = Console(width=180)
    for title, rows in _sections(record['rows']):
        table = Table(title=_head(title, rows), box=SIMPLE_HEAD, show_edge=False)
        for number, name in enumerate(COLUMNS):
            table.add_column(
                name, justify='left' if number < _LEFT_ALIGNED else 'right'
            )
        for row in rows:
            table.add_row(*make_cells(row))
        console.print(table)
    console.print(describe(record), soft_wrap=True)


def to_markdown(record: dict[str, Any]) -> str:
    """Write the tables for a page.

    Args:
        record: As `rounds.run` returns it.

    Returns:
        Markdown.
    """
    return '\n\n'.join([*make_tables(record['rows']), describe(record)]) + '\n'


def make_tables(rows: Sequence[Row]) -> list[str]:
    """Write a table for each section.

    Args:
        rows: What was measured.

    Returns:
        Each in Markdown, with its title.
    """
    return [
        f'**{_head(title, own)}**\n\n'
        + markdown.make_table(COLUMNS, map(make_cells, own))
        for title, own in _sections(rows)
    ]


def make_cells(row: Row) -> tuple[str, ...]:
    """Write what a table says of a row; what was not measured stays empty.

    Args:
        row: The row.

    Returns:
        Its cells, one for each of `COLUMNS`.
    """
    height, width = row.size
    return (
        row.model,
        row.runtime,
        f'{height}x{width}',
        str(row.batch),
        _four_digits(row.median_ms),
        _four_digits(row.p10_ms),
        _four_digits(row.p90_ms),
        f'{row.ratio:.2f}',
        _four_digits(row.images_per_second),
        '' if row.memory is None else f'{row.memory / 1e6:.0f}',
        f'{row.params / 1e6:.3f}',
        '' if row.macs is None else f'{row.macs / 1e9:.3f}',
        '' if row.peak_share is None else f'{row.peak_share * 100:.0f}',
    )


def describe(record: dict[str, Any]) -> str:
    """Say how the figures came about and what they mean.

    Args:
        record: As `rounds.run` returns it.

    Returns:
        A paragraph.
    """
    machine, versions = record['machine'], record['versions']
    settings, rows = record['settings'], record['rows']
    peaks = [row.matmul_gmacs_per_second for row in rows]
    sentences = [
        'A TRIAL, not a measurement.' if settings['trial'] else '',
        f'Measured on {machine["name"]} ({machine["system"]}), '
        + ', '.join(f'{name} {versions[name]}' for name in _TOLD if name in versions)
        + f', with `{record["command"]}`.',
        f'Median, 10th and 90th percentile of {settings["rounds"]} calls after '
        f'{settings["warm_up"]} to warm up; what does the same was measured in turns.',
        'The ratio is of the medians.',
        'Memory: the peak of a call beyond the libraries, weights included, in a '
        'process of its own.'
        if any(row.memory is not None for row in rows)
        else '',
        'Parameters and multiply-accumulates for an image are those of the unfused '
        'model (batch normalisation 2 an element); the peak is that of a float32 '
        f'matrix product in PyTorch, {min(peaks):.0f} to {max(peaks):.0f} GMAC/s '
        'in the same turns, for every precision.',
        f'int8 is calibrated: {settings["int8_calibration"]}.'
        if any(row.precision == 'int8' for row in rows)
        else '',
        _describe_findings(rows),
        _describe_unsettled(rows),
    ]
    return ' '.join(sentence for sentence in sentences if sentence)


def place_in_page(tables: str, page: Path, begin: str = _BEGIN, end: str = _END) -> str:
    """Put the tables between their marks in a page.

    Args:
        tables: What `to_markdown` wrote.
        page: The page, which is left as it is.
        begin: The line before them. Defaults to that of the classifiers.
        end: The line after them. Defaults to that of the classifiers.

    Returns:
        The new text of the page.

    Raises:
        UserError: If there is no such page, or it has no such marks.
    """
    return markdown.place_in_page(tables, page, begin, end)


def _sections(rows: Sequence[Row]) -> list[tuple[str, list[Row]]]:
    return [
        (title, list(part)) for title, part in groupby(rows, key=lambda r: r.section)
    ]


def _four_digits(value: float) -> str:
    """With four digits at least, none of them after the comma if there are more."""
    whole = len(str(int(value)))
    return f'{value:.{max(0, 4 - whole)}f}'


def _head(title: str, rows: Sequence[Row]) -> str:
    """The title, and what the ratio of these rows is to."""
    if all(row.baseline.startswith(f'{row.model}/') for row in rows):
        names = {row.baseline.removeprefix(f'{row.model}/') for row in rows}
    elif all(row.baseline.endswith(f'/{row.runtime}') for row in rows):
        names = {row.baseline.removesuffix(f'/{row.runtime}') for row in rows}
    else:
        names = {row.baseline for row in rows}
    return f'{title}; ratio: times faster than {" or ".join(sorted(names))}'


def _describe_findings(rows: Sequence[Row]) -> str:
    found = [
        f'{row.model} in {row.runtime} {row.found["detections"]}'
        for row in rows
        if 'detections' in row.found
    ]
    return f'Objects found in the image: {", ".join(found)}.' if found else ''


def _describe_unsettled(rows: Sequence[Row]) -> str:
    most = max(row.unsettled_turns for row in rows)
    if not most:
        return ''
    return (
        f'In up to {most} turns of a group another thread of the process was still '
        'computing.'
    )
