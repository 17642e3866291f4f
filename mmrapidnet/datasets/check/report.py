"""What a check found, as a table and as lists."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table

from mmrapidnet.datasets.check.problem import Change, Problem
from mmrapidnet.utils.errors import UserError

_EXAMPLES = 3


def report(problems: list[Problem], out: str | None = None) -> None:
    """Print how many there are of each kind and the first few of each.

    Args:
        problems: What was found.
        out: A file for all of them, one JSON object per line.

    Raises:
        UserError: If one of them stops training or testing, or the file cannot be
            written.
    """
    kinds = defaultdict(list)
    for problem in problems:
        kinds[problem.kind, problem.stops].append(problem)
    # Those that stop first, the most frequent first.
    ranked = sorted(kinds.items(), key=lambda item: (not item[0][1], -len(item[1])))
    table = Table('problem', 'found', 'the run', title='data sets')
    table.columns[1].justify = 'right'
    for (kind, stops), alike in ranked:
        table.add_row(kind, f'{len(alike):,}', 'stops' if stops else 'goes on')
    lines = [] if problems else ['nothing is wrong with the data sets']
    for (kind, _), alike in ranked:
        lines += [f'{kind}:', *_examples(alike)]
    if problems:
        Console().print(table)
    _print(lines)
    if out:
        _write(problems, Path(out))
        _print([f'all written to {out}'])
    stopping = sum(problem.stops for problem in problems)
    if stopping:
        raise UserError(
            f'{stopping:,} of these problems stop training or testing: correct the '
            'files or leave their records out'
        )


def report_changes(changes: list[Change], out: str) -> None:
    """Print how many corrections of each kind there are and the first few of each.

    Args:
        changes: What was changed.
        out: The file that has them.
    """
    kinds = defaultdict(list)
    for change in changes:
        kinds[change.kind].append(change)
    lines = [f'{len(changes):,} corrections written to {out}']
    for kind, alike in kinds.items():
        lines += [f'{kind} ({len(alike):,}):', *_examples(alike)]
    _print(lines)


def _write(problems: list[Problem], path: Path) -> None:
    lines = (json.dumps(asdict(problem)) + '\n' for problem in problems)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(''.join(lines), encoding='utf-8')
    except OSError as error:
        raise UserError(f'{path} cannot be written: {error}') from error


def _examples(alike: list[Problem] | list[Change]) -> list[str]:
    rest = len(alike) - _EXAMPLES
    shown = [f'  {one}' for one in alike[:_EXAMPLES]]
    return [*shown, f'  ... and {rest:,} more'] if rest > 0 else shown


def _print(lines: list[str]) -> None:
    console = Console()
    for line in lines:
        console.print(line, soft_wrap=True, markup=False, highlight=False)
