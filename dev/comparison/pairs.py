"""Two ways to train one model, run with the same seeds, and what the one gains."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dev.comparison.runs import Run, length_of, train_and_test
from dev.comparison.spread import Gain
from dev.comparison.table import report
from dev.subprocess_steps import print_now
from mmrapidnet.utils.errors import UserError

FOOTNOTE = (
    'On the held-out images. One row per seed, which both ways share; differences are '
    'taken seed by seed. Standard deviations are those of the sample; t and p are '
    'those of a paired t-test (two-sided).'
)


@dataclass(frozen=True)
class Pairs:
    """What to compare, and how to call it.

    Attributes:
        title: What the table shows, such as 'mIoU, %, of RapidNet-Ti on Shapes'.
        metric: Name of the figure in ``metrics.json``.
        ways: What the two ways are called: the one that may gain, the plain one.
        runs: For each seed the run of either way.
        note: What the footnote is to say besides.
        scale: What to multiply the figure by, such as 100 for percent. Defaults to 1.
    """

    title: str
    metric: str
    ways: tuple[str, str]
    runs: dict[int, tuple[Run, Run]]
    note: str
    scale: float = 1.0


def check_seeds(seeds: Sequence[int]) -> None:
    """Raise UserError unless there are seeds enough for a standard deviation."""
    if len(seeds) < 2 or len(set(seeds)) != len(seeds):
        given = ' '.join(map(str, seeds))
        raise UserError(f'--seeds {given}: give at least two, each once')


def compare_pairs(
    pairs: Pairs, repo: Path, path: Path, command: str, record: dict[str, Any]
) -> Gain:
    """Train and test both ways once a seed, and write the table.

    Args:
        pairs: What to compare.
        repo: The repository, with ``tools/``.
        path: Of the table's files, without suffix.
        command: The command to name in the table.
        record: What the table's JSON is to hold besides.

    Returns:
        What the first way gains.

    Raises:
        UserError: If a step fails or finds a run of another length.
    """
    run_pairs(pairs, repo)
    return report_pairs(pairs, path, command, record)


def run_pairs(pairs: Pairs, repo: Path) -> None:
    """Train and test both ways once a seed.

    Args:
        pairs: What to compare.
        repo: The repository, with ``tools/``.

    Raises:
        UserError: If a step fails or finds a run of another length.
    """
    # The seeds outside: what slows the machine for a while slows both ways.
    for number, (seed, both) in enumerate(pairs.runs.items(), start=1):
        for way, run in zip(pairs.ways, both, strict=True):
            print_now(f'[{number}/{len(pairs.runs)}] {way}, seed {seed}')
            train_and_test(run, repo)


def report_pairs(
    pairs: Pairs, path: Path, command: str, record: dict[str, Any]
) -> Gain:
    """Write the table of runs that are complete.

    Args:
        pairs: What to compare.
        path: Of the table's files, without suffix.
        command: The command to name in the table.
        record: What the table's JSON is to hold besides.

    Returns:
        What the first way gains.
    """
    figures = [
        [pairs.scale * run.metrics()[pairs.metric] for run in runs]
        for runs in zip(*pairs.runs.values(), strict=True)
    ]
    gain = Gain.of(*figures)
    (first, _), *_ = pairs.runs.values()
    trained = f'{length_of(first)} iterations'
    report(
        path,
        f'{pairs.title}, {trained}',
        tabulate(pairs, gain),
        f'{judge(gain)} {pairs.note} {FOOTNOTE}',
        command,
        dict(
            record,
            trained=trained,
            seeds=list(pairs.runs),
            ways=pairs.ways,
            metric=pairs.metric,
            significant=gain.significant,
            **asdict(gain),
        ),
    )
    return gain


def tabulate(pairs: Pairs, gain: Gain) -> list[tuple[str, ...]]:
    """The header and the cells of the table.

    Args:
        pairs: What was compared.
        gain: What was found.

    Returns:
        The header; one row per seed; their means and standard deviations; t and p of
        the paired t-test, empty where there is none.
    """
    columns = (gain.changed, gain.plain, gain.difference)
    header = ('seed', *pairs.ways, 'difference')
    seeds = [
        (str(seed), *_cells(*values))
        for seed, *values in zip(
            pairs.runs, *(column.values for column in columns), strict=True
        )
    ]
    *both, spread = (f'{column.stdev:.2f}' for column in columns)
    return [
        header,
        *seeds,
        ('mean', *_cells(*(column.mean for column in columns))),
        ('standard deviation', *both, spread),
        ('t', '', '', '' if gain.t is None else f'{gain.t:.2f}'),
        ('p', '', '', '' if gain.p is None else f'{gain.p:.2g}'),
    ]


def judge(gain: Gain) -> str:
    """Say in a sentence whether a gain is one.

    Examples:
        >>> judge(Gain.of([3.0, 5.0], [2.5, 3.5]))
        'The mean difference, +1.00, is not significant (paired t-test, t = 2.00,
        p = 0.3): no gain is shown.'
    """
    mean = f'The mean difference, {gain.difference.mean:+.2f},'
    if gain.p is None:
        return f'{mean} is that of every seed: without spread there is no t-test.'
    test = f'(paired t-test, t = {gain.t:.2f}, p = {gain.p:.2g})'
    if not gain.significant:
        return f'{mean} is not significant {test}: no gain is shown.'
    kind = 'gain' if gain.difference.mean > 0 else 'loss'
    return f'{mean} is a significant {kind} {test}.'


def _cells(changed: float, plain: float, difference: float) -> tuple[str, str, str]:
    return f'{changed:.2f}', f'{plain:.2f}', f'{difference:+.2f}'
