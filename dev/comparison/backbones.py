"""Backbones trained alike on a data set, several seeds each, in one table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from mmengine.registry import MODELS

from dev.comparison.cost import measure_used, median_seconds
from dev.comparison.data_sets import (
    BACKBONES,
    SHAPES,
    DataSet,
    check_there,
    write_scenes,
)
from dev.comparison.runs import (
    Run,
    check_distinct,
    check_iters,
    length_of,
    train_and_test,
)
from dev.comparison.spread import Spread
from dev.comparison.table import report
from dev.subprocess_steps import print_now, relpath
from mmrapidnet.checkpoints.state_dict import read_checkpoint
from mmrapidnet.config.load import load_config
from mmrapidnet.utils.errors import UserError
from mmrapidnet.utils.folders import make_folder

# The backbone that `pretrained` starts.
PRETRAINED = 'rapidnet_ti'
FOOTNOTE = (
    'Mean ± sample standard deviation over n runs, each with a seed of its own; of one '
    'run there is no deviation. Parameters and multiply-accumulates (two for each '
    'element of a batch normalisation) are those of the backbone alone that its '
    "outputs depend on: the last convolution of mmpretrain's MobileNetV2, which no "
    'output uses, is left out, though the seconds hold its forward pass. Seconds: the '
    "median of a run's logged iterations but the first, forward and backward pass, "
    'optimizer and loading together.'
)


@dataclass(frozen=True)
class Row:
    """What is known of a backbone.

    Attributes:
        title: What it is called.
        config: The config's name.
        figures: Those of the data set's table, by their headings.
        classes: The test IoU of each class in percent; empty where it is not wanted.
        params: Parameters of the backbone.
        macs: Multiply-accumulates of the backbone for one image.
        size: Height and width of that image, in pixels.
        seconds: Seconds per iteration of training.
    """

    title: str
    config: str
    figures: dict[str, Spread]
    classes: dict[str, Spread]
    params: int
    macs: int
    size: tuple[int, int]
    seconds: Spread


def compare(
    repo: Path,
    data: DataSet,
    data_root: Path,
    out_dir: Path,
    seeds: Sequence[int],
    models: Sequence[str],
    pretrained: Path | None = None,
    iters: int | None = None,
    command: str = '',
) -> list[Row]:
    """Train and test every backbone once per seed, and write the table.

    Args:
        repo: The repository, with ``configs/`` and ``tools/``.
        data: The data set.
        data_root: Where it is; Shapes is written there if nothing is.
        out_dir: Where runs, ``<data set>.json`` and ``<data set>.md`` go.
        seeds: One per run.
        models: Names of backbones that the data set has configs for.
        pretrained: Weights of RapidNet-Ti, which then also starts from them. Defaults
            to None.
        iters: Iterations of a training. Defaults to the configs' own.
        command: The command to name in the table.

    Returns:
        One row per backbone, last that of the pre-trained one.

    Raises:
        UserError: If an argument does not fit, a step fails, or ``out_dir`` holds
            runs of another length.
    """
    _check(data, seeds, models, iters)
    if pretrained:
        read_checkpoint(str(pretrained))
    if data is SHAPES:
        write_scenes(data_root)
    else:
        check_there('--data-root', data_root)
    make_folder(out_dir)

    def run(model: str, seed: int, start: Path | None = None) -> Run:
        config = repo / 'configs' / data.config(model)
        # From other weights it is another run.
        way = f'_from_{start.resolve().parent.name}_{start.stem}' if start else ''
        return Run(
            config=config,
            data_root=data_root / data.annotations,
            folder=out_dir / f'{config.stem}{way}_seed{seed}',
            seed=seed,
            iters=iters,
            arguments=data.arguments,
            pretrained=start,
        )

    runs = {BACKBONES[model]: [run(model, seed) for seed in seeds] for model in models}
    if pretrained:
        title = f'{BACKBONES[PRETRAINED]}, pre-trained'
        runs[title] = [run(PRETRAINED, seed, pretrained) for seed in seeds]
    # The seeds outside: what slows the machine for a while slows all backbones.
    order = [(title, runs[title][n]) for n in range(len(seeds)) for title in runs]
    for number, (title, one) in enumerate(order, start=1):
        print_now(f'[{number}/{len(order)}] {title}, seed {one.seed}')
        train_and_test(one, repo)
    return _report(data, runs, pretrained, out_dir, command)


def summarise(title: str, runs: Sequence[Run], data: DataSet) -> Row:
    """Gather what the runs of a backbone measured and what it costs.

    Args:
        title: What it is called.
        runs: Complete ones.
        data: The data set.

    Returns:
        Its row.

    Raises:
        UserError: If a run logged fewer than two iterations.
    """
    backbone = MODELS.build(load_config(str(runs[0].config)).model.backbone)
    cost = measure_used(backbone, data.size)
    figures = {
        figure.heading: Spread.of(
            [figure.scale * run.metrics(figure.split)[figure.metric] for run in runs]
        )
        for figure in data.figures
    }
    return Row(
        title=title,
        config=runs[0].config.name,
        figures=figures,
        classes=_spread_classes(runs) if data.classes else {},
        params=cost.params,
        macs=cost.macs,
        size=data.size,
        seconds=Spread.of([median_seconds(run.folder) for run in runs]),
    )


def _spread_classes(runs: Sequence[Run]) -> dict[str, Spread]:
    of_runs = [run.class_ious() for run in runs]
    return {name: Spread.of([ious[name] for ious in of_runs]) for name in of_runs[0]}


def _check(
    data: DataSet, seeds: Sequence[int], models: Sequence[str], iters: int | None
) -> None:
    check_distinct('--seeds', seeds, 1)
    check_distinct('--models', models, 1)
    unknown = ', '.join(model for model in models if model not in data.backbones)
    if unknown:
        raise UserError(
            f'--models: unknown {unknown}: choose some of {", ".join(data.backbones)}'
        )
    check_iters(iters)


def _report(
    data: DataSet,
    runs: dict[str, list[Run]],
    pretrained: Path | None,
    out_dir: Path,
    command: str,
) -> list[Row]:
    """Write the tables of runs that are complete."""
    rows = [summarise(title, of_title, data) for title, of_title in runs.items()]
    (first, *_), *_ = runs.values()
    trained = f'{length_of(first)} iterations'
    title, note = f'{data.title}, from scratch, {trained}', data.note
    if pretrained:
        title = f'{data.title}, {trained}'
        note += (
            f' The backbone called pre-trained starts from {relpath(pretrained)}, the '
            'others from random weights.'
        )
    tables = [_table(rows)]
    if data.classes:
        tables.append(_table_of_classes(rows))
    record = dict(
        trained=trained,
        pretrained=pretrained and str(pretrained),
        rows=[asdict(row) for row in rows],
    )
    report(out_dir / data.name, title, tables, f'{note} {FOOTNOTE}', command, record)
    return rows


def _table(rows: Sequence[Row]) -> list[tuple[str, ...]]:
    """The header and the cells of the table."""
    height, width = rows[0].size
    header = (
        'model',
        *rows[0].figures,
        'parameters, M',
        f'GMACs at {height}x{width}',
        'seconds per iteration',
    )
    cells = [
        (
            row.title,
            *(figure.show(2) for figure in row.figures.values()),
            f'{row.params / 1e6:.3f}',
            f'{row.macs / 1e9:.3f}',
            row.seconds.show(3),
        )
        for row in rows
    ]
    return [header, *cells]


def _table_of_classes(rows: Sequence[Row]) -> list[tuple[str, ...]]:
    """The header, a column for each model, and a row for each class."""
    header = ('class', *(row.title for row in rows))
    classes = [
        (name, *(row.classes[name].show(1) for row in rows)) for name in rows[0].classes
    ]
    return [header, *classes]
