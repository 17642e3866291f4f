"""Ways to train one model with the same seeds, and what they gain over the last."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dev.comparison.runs import Run, length_of, train_and_test
from dev.comparison.spread import Gain
from dev.comparison.table import report
from dev.subprocess_steps import print_now

FOOTNOTE = (
    'On the held-out images. One row per seed, which all ways share; differences are '
    'taken seed by seed. Standard deviations are those of the sample; t and p are '
    'those of a paired t-test (two-sided).'
)


@dataclass(frozen=True)
class Pairs:
    """What to compare, and how to call it.

    Attributes:
        title: What the table shows, such as 'mIoU, %, of RapidNet-Ti on Shapes'.
        metric: Name of the figure in ``metrics.json``.
        ways: What the ways are called: those that may gain, last the plain one.
        runs: For each seed the run of each way.
        note: What the footnote is to say besides.
        scale: What to multiply the figure by, such as 100 for percent. Defaults to 1.
        split: That of the figure, as of `Run.metrics`. Defaults to 'test'.
    """

    title: str
    metric: str
    ways: tuple[str, ...]
    runs: dict[int, tuple[Run, ...]]
    note: str
    scale: float = 1.0
    split: str = 'test'


def compare_pairs(
    pairs: Pairs, repo: Path, path: Path, command: str, record: dict[str, Any]
) -> list[Gain]:
    """Train and test all ways once per seed, and write the table.

    Args:
        pairs: What to compare.
        repo: The repository, with ``tools/``.
        path: Of the table's files, without suffix.
        command: The command to name in the table.
        record: What the table's JSON is to hold besides.

    Returns:
        What each way but the last gains over it.

    Raises:
        UserError: If a step fails or finds a run of another length.
    """
    run_pairs(pairs, repo)
    return report_pairs(pairs, path, command, record)


def run_pairs(pairs: Pairs, repo: Path) -> None:
    """Train and test all ways once per seed.

    Args:
        pairs: What to compare.
        repo: The repository, with ``tools/``.

    Raises:
        UserError: If a step fails or finds a run of another length.
    """
    # The seeds outside: what slows the machine for a while slows all ways.
    for number, (seed, runs) in enumerate(pairs.runs.items(), start=1):
        for way, run in zip(pairs.ways, runs, strict=True):
            print_now(f'[{number}/{len(pairs.runs)}] {way}, seed {seed}')
            train_and_test(run, repo)


def report_pairs(
    pairs: Pairs, path: Path, command: str, record: dict[str, Any]
) -> list[Gain]:
    """Write the table of runs that are complete.

    Args:
        pairs: What to compare.
        path: Of the table's files, without suffix.
        command: The command to name in the table.
        record: What the table's JSON is to hold besides.

    Returns:
        What each way but the last gains over it.
    """
    *figures, plain = (
        [pairs.scale * run.metrics(pairs.split)[pairs.metric] for run in runs]
        for runs in zip(*pairs.runs.values(), strict=True)
    )
    gains = [Gain.of(changed, plain) for changed in figures]
    (first, *_), *_ = pairs.runs.values()
    trained = f'{length_of(first)} iterations'
    report(
        path,
        f'{pairs.title}, {trained}',
        [tabulate(pairs, gains)],
        ' '.join([*_judge_each(pairs, gains), pairs.note, FOOTNOTE]),
        command,
        dict(
            record,
            trained=trained,
            seeds=list(pairs.runs),
            ways=pairs.ways,
            metric=pairs.metric,
            split=pairs.split,
            gains=[
                dict(way=way, significant=gain.significant, **asdict(gain))
                for way, gain in zip(pairs.ways, gains)
            ],
        ),
    )
    return gains


def tabulate(pairs: Pairs, gains: Sequence[Gain]) -> list[tuple[str, ...]]:
    """The header and the cells of the table.

    Args:
        pairs: What was compared.
        gains: What was found, of each way but the last.

    Returns:
        The header; one row per seed; their means and standard deviations; t and p of
        the paired t-tests, empty where there is none.
    """
    *others, plain = pairs.ways
    several = [f'{way} less {plain}' for way in others]
    figures = [*(gain.changed for gain in gains), gains[0].plain]
    differences = [gain.difference for gain in gains]
    seeds = [
        _row(
            str(seed),
            [figure.values[n] for figure in figures],
            [difference.values[n] for difference in differences],
        )
        for n, seed in enumerate(pairs.runs)
    ]
    no_test = ('',) * len(figures)
    return [
        ('seed', *pairs.ways, *(several if len(others) > 1 else ['difference'])),
        *seeds,
        _row('mean', [f.mean for f in figures], [d.mean for d in differences]),
        (
            'standard deviation',
            *(_show(spread.stdev, '.2f') for spread in (*figures, *differences)),
        ),
        ('t', *no_test, *(_show(gain.t, '.2f') for gain in gains)),
        ('p', *no_test, *(_show(gain.p, '.2g') for gain in gains)),
    ]


def judge(gain: Gain) -> str:
    """Say in a sentence whether a gain is one.

    Examples:
        >>> judge(Gain.of([3.0, 5.0], [2.5, 3.5]))
        'The mean difference, +1.00, is not significant (paired t-test, t = 2.00,
        p = 0.3): no gain is shown.'
    """
    mean = f'The mean difference, {gain.difference.mean:+.2f},'
    if gain.difference.stdev is None:
        return f'{mean} is of one seed: there is no t-test.'
    if gain.p is None:
        return f'{mean} is that of every seed: without spread there is no t-test.'
    test = f'(paired t-test, t = {gain.t:.2f}, p = {gain.p:.2g})'
    if not gain.significant:
        return f'{mean} is not significant {test}: no gain is shown.'
    kind = 'gain' if gain.difference.mean > 0 else 'loss'
    return f'{mean} is a significant {kind} {test}.'


def _judge_each(pairs: Pairs, gains: Sequence[Gain]) -> list[str]:
    if len(gains) == 1:
        return [judge(gains[0])]
    return [f'{way}: {judge(gain)}' for way, gain in zip(pairs.ways, gains)]


def _row(
    name: str, figures: Sequence[float], differences: Sequence[float]
) -> tuple[str, ...]:
    signed = (f'{difference:+.2f}' for difference in differences)
    return (name, *(f'{figure:.2f}' for figure in figures), *signed)


def _show(value: float | None, form: str) -> str:
    return '' if value is None else format(value, form)
