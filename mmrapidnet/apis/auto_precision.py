"""The precision of an exported file that is fastest here and keeps the metric."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

from mmengine.config import Config
from rich.console import Console
from rich.table import Table

from mmrapidnet.apis.benchmark import Row, Settings, measure
from mmrapidnet.apis.isolated_export import export_precision
from mmrapidnet.apis.points import IMAGES, measure_points
from mmrapidnet.config.libraries import require_library
from mmrapidnet.deploy.export import UNCALIBRATED, Report
from mmrapidnet.deploy.formats import check_supported, list_precisions, load_format
from mmrapidnet.deploy.isolated import FileError
from mmrapidnet.utils.atomic import replace_atomic
from mmrapidnet.utils.env import processor_name
from mmrapidnet.utils.errors import UserError

MAX_DROP = 0.5
# Of two precisions that take the same time but for so much, the more exact is taken.
TIE = 0.03
# Timed calls of each file, and of PyTorch, which takes longest.
ROUNDS, WARM_UP = 20, 3

Points = dict[str, float]
# Scope of a config: the kind of its whole graph.
WHOLE = {'mmdet': 'detector', 'mmseg': 'segmenter', 'mmpretrain': 'classifier'}


@dataclass(frozen=True)
class Choice:
    """Which precision is kept.

    Attributes:
        kept: The precision; None if none keeps the metric.
        points: The metrics of those that were tested.
        drops: What each of those loses, in points; below 0 if it gains.
    """

    kept: str | None
    points: dict[str, Points] = field(default_factory=dict)
    drops: dict[str, float] = field(default_factory=dict)


def export_fastest(
    cfg: Config,
    checkpoint: str,
    format: str,
    out: str | Path,
    images: int = IMAGES,
    max_drop: float = MAX_DROP,
    **arguments: Any,
) -> Report:
    """Export in each precision that the format has; keep the fastest of those that do.

    Each file is compared with PyTorch as `mmrapidnet.deploy.export.export` does, all
    are timed in turns on one image of the test set's size, and tested on some images of
    the test set, the fastest first, until one keeps the checkpoint's metrics. Each runs
    in a process of its own: one that ends it is left out. What was measured is printed;
    nothing is left of the other files.

    Args:
        cfg: The config the checkpoint was trained with.
        checkpoint: Path or URL of the checkpoint.
        format: One that runs on this system.
        out: The file to write, with the format's suffix.
        images: How many images of the test set. Defaults to 100.
        max_drop: What a metric may lose, in points. Defaults to 0.5.
        **arguments: Further ones of `mmrapidnet.deploy.export.export`.

    Returns:
        What was exported.

    Raises:
        UserError: As `mmrapidnet.deploy.export.export` for the most exact precision;
            also if only a part is asked for, nothing runs the format here, or no
            precision keeps the metrics.
    """
    writer, out = load_format(format), Path(out)
    precisions = _check(cfg, writer, arguments.get('part', 'whole'))
    write = partial(export_precision, cfg, checkpoint, format, **arguments)
    with tempfile.TemporaryDirectory() as folder:
        reports, left_out = _export_each(write, precisions, Path(folder), out.name)
        rows = _time(cfg, checkpoint, reports, left_out)
        reference = measure_points(cfg, checkpoint, images)

        def test(name: str) -> Points | None:
            path = reports[name].path
            try:
                return measure_points(cfg, str(path), images)
            except FileError as error:
                left_out.add(name, error, path)
                return None

        choice = choose(
            {name: rows[name].timing.median for name in reports},
            test,
            reference,
            max_drop,
        )
        _tell(_make_table(out, rows, reference, choice, left_out), images)
        if choice.kept is None:
            raise UserError(
                f'{out} was not written: no precision keeps the metric within '
                f'{max_drop} points (--max-drop); see the table above'
            )
        return _keep(reports[choice.kept], out)


def choose(
    seconds: Mapping[str, float],
    test: Callable[[str], Points | None],
    reference: Points,
    max_drop: float,
) -> Choice:
    """Find the fastest precision that keeps the metrics, with as few tests as need be.

    Args:
        seconds: Precision to latency, the most exact first.
        test: From a precision to its metrics; None if it cannot be tested.
        reference: Those of the checkpoint.
        max_drop: What each metric may lose.

    Returns:
        The choice.

    Examples:
        >>> points = {'fp32': {'mIoU': 60.0}, 'int8': {'mIoU': 59.1}}
        >>> seconds = {'fp32': 0.030, 'int8': 0.010}
        >>> choose(seconds, points.get, {'mIoU': 60.0}, max_drop=0.5).kept
        'fp32'
        >>> choose(seconds, points.get, {'mIoU': 60.0}, max_drop=1.0).kept
        'int8'
    """
    choice = Choice(None)
    for name in rank(seconds):
        points = test(name)
        if points is None:
            continue
        choice.points[name] = points
        drop = max(reference[metric] - points[metric] for metric in reference)
        choice.drops[name] = drop
        if drop <= max_drop:
            return Choice(name, choice.points, choice.drops)
    return choice


def rank(seconds: Mapping[str, float]) -> Iterator[str]:
    """Order precisions by their latency, equal ones as they are given.

    Args:
        seconds: Precision to latency, the most exact first.

    Yields:
        The fastest, and so on; one that is slower by less than `TIE` comes first if it
        is more exact.

    Examples:
        >>> list(rank({'fp32': 1.02, 'fp16': 1.0, 'int8': 0.5}))
        ['int8', 'fp32', 'fp16']
    """
    left = dict(seconds)
    while left:
        bound = min(left.values()) * (1 + TIE)
        first = next(name for name, took in left.items() if took <= bound)
        yield first
        del left[first]


def _check(cfg: Config, writer: ModuleType, part: str) -> tuple[str, ...]:
    """The precisions that can be measured."""
    if part != 'whole':
        raise UserError(
            f'--precision auto measures the metric, which --part {part} has not: '
            'choose a precision'
        )
    if not writer.RUNNABLE:
        raise UserError(
            f'--precision auto measures the files, and nothing on this system runs '
            f'{writer.NAME}: choose a precision'
        )
    kind = WHOLE[require_library(cfg)]
    check_supported(writer, kind, 'fp32')
    return list_precisions(writer, kind)


class _LeftOut(list[str]):
    """Precisions that cannot be had here; says why as they come."""

    def add(self, name: str, error: UserError, path: Path) -> None:
        self.append(name)
        fault = str(error).replace(f'{path.parent}/', '')
        Console(markup=False).print(f'left out: {name}: {fault}', soft_wrap=True)


def _export_each(
    write: Callable[..., Report], precisions: Sequence[str], folder: Path, name: str
) -> tuple[dict[str, Report], _LeftOut]:
    """By precision what was exported, and those that were not."""
    reports, left_out = {}, _LeftOut()
    for precision in precisions:
        out = folder / precision / name
        options = {} if precision == 'int8' else UNCALIBRATED
        try:
            reports[precision] = write(
                out, precision=precision, measured=True, **options
            )
        except UserError as error:
            if precision == precisions[0]:
                raise
            left_out.add(precision, error, out)
    return reports, left_out


def _time(
    cfg: Config, checkpoint: str, reports: dict[str, Report], left_out: _LeftOut
) -> dict[str, Row]:
    """What PyTorch and the files take, by PyTorch's names and by precision.

    Files that cannot be timed are left out of the reports, too.
    """
    paths = {str(report.path): name for name, report in reports.items()}
    size = next(iter(reports.values())).size
    settings = Settings(size=size, rounds=ROUNDS, warm_up=WARM_UP)
    while True:
        try:
            found = measure(cfg, checkpoint, list(paths), settings)
        except FileError as error:
            # What was timed beside it is timed again.
            name = paths.pop(str(error.path))
            left_out.add(name, error, error.path)
            del reports[name]
        else:
            return {paths.get(row.name, row.name): row for row in found.rows}


def _make_table(
    out: Path,
    rows: Mapping[str, Row],
    reference: Points,
    choice: Choice,
    left_out: Sequence[str],
) -> Table:
    table = Table('what', title=f'precisions of {out.name}')
    for name in ('median ms', 'times as fast', *reference):
        table.add_column(name, justify='right')
    table.add_column('')
    points = {next(iter(rows)): reference, **choice.points}
    for name, row in rows.items():
        table.add_row(
            name,
            f'{1e3 * row.timing.median:.2f}',
            f'{row.ratio:.2f}',
            *(f'{points[name][m]:.2f}' if name in points else '' for m in reference),
            '' if name.startswith('PyTorch') else _say_why(name, choice, left_out),
        )
    for name in left_out:
        if name not in rows:
            table.add_row(name, '', '', *('' for _ in reference), 'left out')
    return table


def _tell(table: Table, images: int) -> None:
    console = Console(markup=False, emoji=False)
    console.print(table)
    console.print(
        f'The metric is of {images} images of the test set, or all if it has fewer; '
        f'times on {processor_name("cpu")}.',
        soft_wrap=True,
    )


def _say_why(name: str, choice: Choice, left_out: Sequence[str]) -> str:
    """Why a precision is kept or not."""
    if name == choice.kept:
        return 'kept'
    if name in left_out:
        return 'left out'
    if name not in choice.drops:
        return 'slower'
    return f'loses {choice.drops[name]:.2f}'


def _keep(report: Report, out: Path) -> Report:
    """Move a file, and what lies beside it, to where it is to be."""
    with replace_atomic(out) as path:
        for part in report.path.parent.iterdir():
            shutil.move(part, path.with_name(part.name))
    return Report(out, report.size, report.metadata, report.differences)
