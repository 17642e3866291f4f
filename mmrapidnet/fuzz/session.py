"""Many commands, and what became of them."""

from __future__ import annotations

import shlex
import time
from collections import Counter
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from mmrapidnet.errors import UserError
from mmrapidnet.fuzz.cases import Case, draw_case
from mmrapidnet.fuzz.forked import Outcome, import_libraries, run_forked
from mmrapidnet.fuzz.samples import make_samples


@dataclass
class Tally:
    """What became of the commands.

    Attributes:
        ended: Name of the tool and 'done', 'refused' or 'broken', to how often.
        faults: Number of each case that broke the promise, with what it broke.
    """

    ended: Counter = field(default_factory=Counter)
    faults: dict[int, str] = field(default_factory=dict)

    def add(self, number: int, case: Case, outcome: Outcome) -> None:
        """Count a case."""
        if outcome.fault:
            self.faults[number] = outcome.fault
        kind = 'done' if outcome.status == 0 else 'refused'
        self.ended[case.tool, 'broken' if outcome.fault else kind] += 1


def run(
    repo: Path,
    runs: int | None,
    seconds: float | None,
    seed: int,
    only: int | None = None,
    exported: bool = True,
    timeout: float = 120,
) -> Tally:
    """Run commands at random and hold each to the tools' promise.

    A command ends with status 0, or with another and one line that begins with
    ``error: `` (or argparse's usage), without a traceback, a signal or a time-out.

    Args:
        repo: The repository.
        runs: How many commands; None for no limit.
        seconds: When to begin no more; None for no limit.
        seed: Of what is drawn.
        only: The number of the one case to run, its output shown. Defaults to None.
        exported: Whether exported files are among those given, which takes a minute
            to make. Defaults to True.
        timeout: Seconds that a command may take. Defaults to 120.

    Returns:
        What became of them.

    Raises:
        UserError: If the promise was broken, with how to run the first such case
            again; or if ``runs`` is below 1.
    """
    if runs is not None and runs < 1:
        raise UserError(f'--runs {runs}: give a number above 0')
    import_libraries()
    tally = Tally()
    with TemporaryDirectory() as folder, Progress(transient=True) as progress:
        task = progress.add_task('making files to start from', total=runs)
        samples = make_samples(repo, Path(folder), exported)
        end = time.monotonic() + (seconds or float('inf'))
        numbers = count() if runs is None else range(runs)
        for number in numbers if only is None else [only]:
            if time.monotonic() > end:
                break
            place = Path(folder) / f'case{number}'
            place.mkdir()
            case = draw_case(seed, number, samples, place)
            progress.update(task, description=case.tool)
            script = repo / 'tools' / case.tool
            outcome = run_forked(script, case.arguments, place, timeout)
            tally.add(number, case, outcome)
            if outcome.fault or only is not None:
                _tell(progress.console, number, case, outcome, only is not None)
            progress.advance(task)
    _summarise(tally)
    if tally.faults:
        number = next(iter(tally.faults))
        raise UserError(
            f'{len(tally.faults)} of {tally.ended.total()} commands broke the promise; '
            f'again: python tools/fuzz.py --seed {seed} --case {number}'
            + ('' if exported else ' --no-exported')
        )
    return tally


def _tell(
    console: Console, number: int, case: Case, outcome: Outcome, whole: bool
) -> None:
    command = shlex.join(['python', f'tools/{case.tool}', *case.arguments])
    console.print(f'case {number}: {outcome.fault}', markup=False)
    console.print(f'  {command}', markup=False, soft_wrap=True)
    for damage in case.damaged:
        console.print(f'  {damage}', markup=False)
    if whole:
        console.print(outcome.output, markup=False)


def _summarise(tally: Tally) -> None:
    kinds = ('done', 'refused', 'broken')
    table = Table('tool', *kinds)
    for tool in sorted({tool for tool, _ in tally.ended}):
        table.add_row(tool, *(str(tally.ended[tool, kind]) for kind in kinds))
    Console().print(table)
