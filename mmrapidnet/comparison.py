"""Backbones trained alike on Shapes, several seeds each, in one table.

Every run is two commands that the user can type as well; they are printed before they
run.  A run that is complete is not repeated, so that an interrupted comparison goes on.
"""

from __future__ import annotations

import json
import shutil
import statistics
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.registry import MODELS
from rich.console import Console
from rich.table import Table
from torch import nn

from mmrapidnet.analysis.complexity import Complexity, count_macs
from mmrapidnet.analysis.machine import processor_name
from mmrapidnet.analysis.markdown import make_table
from mmrapidnet.data import write_shapes
from mmrapidnet.engine.config import load_config
from mmrapidnet.errors import UserError
from mmrapidnet.steps import last_checkpoint, run_tool, say, shown

# Contender: what it is called; its config is semfpn_<contender>_shapes.py.
CONTENDERS = {
    'rapidnet_ti': 'RapidNet-Ti',
    'repvit_m0_9': 'RepViT-M0.9',
    'mobilevig_ti': 'MobileViG-Ti',
    'mobilenetv2_x1_4': 'MobileNetV2 x1.4',
}
SEEDS = (0, 1, 2)
LEAST_ITERS = 2
FOOTNOTE = (
    'mIoU on the held-out images. Mean ± sample standard deviation over n runs, each '
    'with a seed of its own; of one run there is no deviation. Parameters and '
    'multiply-accumulates (two for each element of a batch normalisation) are those '
    'of the backbone alone that its outputs depend on: the last convolution of '
    "mmpretrain's MobileNetV2, which no output uses, is left out, though the seconds "
    "hold its forward pass. Seconds: the median of a run's logged iterations but the "
    'first, forward and backward pass, optimizer and loading together.'
)


@dataclass(frozen=True)
class Spread:
    """A figure measured once a run.

    Attributes:
        values: One a run.
        mean: Their mean.
        stdev: Their sample standard deviation; None of a single run.
    """

    values: list[float]
    mean: float
    stdev: float | None

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Compute mean and spread.

        Example:
            >>> Spread.of([1.0, 2.0, 3.0]).stdev, Spread.of([1.0]).stdev
            (1.0, None)
        """
        stdev = statistics.stdev(values) if len(values) > 1 else None
        return cls(list(values), statistics.fmean(values), stdev)

    def show(self, digits: int) -> str:
        """Such as '61.20 ± 0.45 (n=3)'."""
        stdev = '' if self.stdev is None else f' ± {self.stdev:.{digits}f}'
        return f'{self.mean:.{digits}f}{stdev} (n={len(self.values)})'


@dataclass(frozen=True)
class Row:
    """What is known of a contender.

    Attributes:
        title: What it is called.
        config: The config's name.
        miou: Percent, on the held-out images.
        params: Parameters of the backbone.
        macs: Multiply-accumulates of the backbone for one image.
        size: Height and width of that image, in pixels.
        seconds: Seconds an iteration of training.
    """

    title: str
    config: str
    miou: Spread
    params: int
    macs: int
    size: tuple[int, int]
    seconds: Spread


def compare(
    repo: Path,
    data_root: Path,
    out_dir: Path,
    seeds: Sequence[int] = SEEDS,
    models: Sequence[str] = tuple(CONTENDERS),
    iters: int | None = None,
    command: str = '',
) -> list[Row]:
    """Train and test every contender once a seed, and write the table.

    Args:
        repo: The repository, with ``configs/`` and ``tools/``.
        data_root: Where Shapes is, or goes if nothing is there.
        out_dir: Where runs, ``comparison.json`` and ``comparison.md`` go.
        seeds: One a run. Defaults to (0, 1, 2).
        models: Names in `CONTENDERS`. Defaults to all.
        iters: Iterations of a training. Defaults to the configs' own.
        command: The command to name in the table.

    Returns:
        One row a contender.

    Raises:
        UserError: If an argument does not fit, a step fails, or ``out_dir`` holds
            runs of another length.
    """
    _check(seeds, models, iters)
    if not data_root.exists():
        say(f'Shapes, a data set drawn on the spot, into {shown(data_root)}')
        write_shapes(data_root, progress=True)
    out_dir.mkdir(parents=True, exist_ok=True)
    configs = {model: _config_of(repo, model) for model in models}
    # The seeds outside: what slows the machine for a while slows all contenders.
    todo = [(seed, model) for seed in seeds for model in models]
    for number, (seed, model) in enumerate(todo, start=1):
        say(f'[{number}/{len(todo)}] {CONTENDERS[model]}, seed {seed}')
        run = run_dir(out_dir, model, seed)
        _train_and_test(repo, data_root, configs[model], run, seed, iters)
    rows = [summarise(model, cfg, out_dir, seeds) for model, cfg in configs.items()]
    length = iters or next(iter(configs.values())).train_cfg.max_iters
    report(rows, out_dir, f'{length} iterations', command)
    return rows


def summarise(model: str, cfg: Config, out_dir: Path, seeds: Sequence[int]) -> Row:
    """Gather what the runs of a contender measured and what its backbone costs.

    Args:
        model: Its name in `CONTENDERS`.
        cfg: Its config.
        out_dir: Where the runs are.
        seeds: The runs that count.

    Returns:
        Its row.

    Raises:
        UserError: If a run logged fewer than two iterations.
    """
    runs = [run_dir(out_dir, model, seed) for seed in seeds]
    tests = [_read_metrics(_test_dir(run)) for run in runs]
    backbone = MODELS.build(cfg.model.backbone)
    size = tuple(cfg.model.data_preprocessor.size)
    cost = measure_used(backbone, size)
    return Row(
        title=CONTENDERS[model],
        config=Path(cfg.filename).name,
        miou=Spread.of([test['metrics']['mIoU'] for test in tests]),
        params=cost.params,
        macs=cost.macs,
        size=size,
        seconds=Spread.of([median_seconds(run) for run in runs]),
    )


def run_dir(out_dir: Path, model: str, seed: int) -> Path:
    """The folder of a training; that of its test is called the same with _test."""
    return out_dir / f'{model}_seed{seed}'


def _test_dir(run: Path) -> Path:
    return run.with_name(f'{run.name}_test')


def _read_metrics(work_dir: Path) -> dict[str, Any]:
    return json.loads((work_dir / 'metrics.json').read_text())


def _check(seeds: Sequence[int], models: Sequence[str], iters: int | None) -> None:
    for name, values in (('--seeds', seeds), ('--models', models)):
        if not values or len(set(values)) != len(values):
            given = ' '.join(map(str, values))
            raise UserError(f'{name} {given}: give one or more, each once')
    unknown = ', '.join(model for model in models if model not in CONTENDERS)
    if unknown:
        raise UserError(
            f'--models: unknown {unknown}: choose some of {", ".join(CONTENDERS)}'
        )
    if iters is not None and iters < LEAST_ITERS:
        raise UserError(f'--iters {iters}: give at least {LEAST_ITERS}')


def _config_of(repo: Path, model: str) -> Config:
    return load_config(str(repo / 'configs' / f'semfpn_{model}_shapes.py'))


def _train_and_test(
    repo: Path, data_root: Path, cfg: Config, run: Path, seed: int, iters: int | None
) -> None:
    """One run of a contender, unless it is there already."""
    test = _test_dir(run)
    if (test / 'metrics.json').is_file():
        found, wanted = _read_metrics(run)['iter'], iters or cfg.train_cfg.max_iters
        if found != wanted:
            raise UserError(
                f'{shown(run)} is a run of {found} iterations, not of {wanted}: give '
                'another --out or delete the folder'
            )
        say(f'  {shown(run)} is complete: not repeated')
        return
    for folder in (run, test):
        shutil.rmtree(folder, ignore_errors=True)
    data = ('--data-root', data_root / 'ade', '--work-dir')
    options = ('--cfg-options', f'randomness.seed={seed}', *_shortened(cfg, iters))
    run_tool(
        repo / 'tools' / 'train.py',
        [Path(cfg.filename), *data, run, *options],
        run.with_name(f'{run.name}.log'),
    )
    run_tool(
        repo / 'tools' / 'test.py',
        [Path(cfg.filename), last_checkpoint(run), *data, test],
        run.with_name(f'{test.name}.log'),
    )


def _shortened(cfg: Config, iters: int | None) -> list[str]:
    """The options for a trial: the schedule in proportion, every iteration logged."""
    if iters is None:
        return []
    warm_up = cfg.param_scheduler[0].end * iters // cfg.train_cfg.max_iters
    warm_up = max(1, warm_up)
    return [
        f'train_cfg.max_iters={iters}',
        f'train_cfg.val_interval={iters}',
        f'param_scheduler.0.end={warm_up}',
        f'param_scheduler.1.begin={warm_up}',
        f'param_scheduler.1.end={iters}',
        f'default_hooks.checkpoint.interval={iters}',
        'default_hooks.logger.interval=1',
        'log_processor.window_size=1',
    ]


def median_seconds(work_dir: Path) -> float:
    """The median of the seconds an iteration that a training logged.

    Args:
        work_dir: The folder of the run; its first logged iterations, in which the
            process warms up, do not count.

    Returns:
        Seconds an iteration.

    Raises:
        UserError: If fewer than two were logged.
    """
    logs = sorted(work_dir.glob('*/vis_data/scalars.json'))
    lines = logs[-1].read_text().splitlines() if logs else []
    records = [json.loads(line) for line in lines]
    # Validation logs a time as well, but no loss.
    seconds = [record['time'] for record in records if 'loss' in record]
    if len(seconds) < 2:
        raise UserError(
            f'{shown(work_dir)} logged {len(seconds)} times of training iterations, '
            'at least 2 are needed: delete the folder and compare again'
        )
    return statistics.median(seconds[1:])


def measure_used(backbone: nn.Module, size: tuple[int, int]) -> Complexity:
    """Count what a backbone costs without the layers its outputs do not depend on.

    Args:
        backbone: From images to a tuple of feature maps; it is left as it is.
        size: Height and width of the image in pixels.

    Returns:
        Its parameters and multiply-accumulates.
    """
    # Wrapped, since mmpretrain's own `train` and `eval` return nothing.
    model = nn.Sequential(deepcopy(backbone)).eval().requires_grad_(True)
    features = model(torch.zeros(1, 3, *size))
    sum(feature.sum() for feature in features).backward()
    reached = [p.numel() for p in model.parameters() if p.grad is not None]
    # What no output depends on is not in the traced graph, so its operations do not
    # count either.
    return Complexity(sum(reached), count_macs(model, size))


def report(rows: Sequence[Row], out_dir: Path, length: str, command: str) -> None:
    """Print the table and write ``comparison.json`` and ``comparison.md``.

    Args:
        rows: One a contender.
        out_dir: Where the files go.
        length: How long each was trained, such as '440 iterations'.
        command: The command that measured it.
    """
    context = dict(
        processor=processor_name(),
        torch=torch.__version__,
        command=command,
        trained=length,
    )
    record = {**context, 'rows': [asdict(row) for row in rows]}
    (out_dir / 'comparison.json').write_text(json.dumps(record, indent=2) + '\n')
    (out_dir / 'comparison.md').write_text(as_markdown(rows, context))

    header, *body = _table(rows)
    table = Table(*header, title=f'Semantic FPN on Shapes, from scratch, {length}')
    for cells in body:
        table.add_row(*cells)
    console = Console()
    console.print(table)
    console.print(FOOTNOTE)
    console.print(f'written to {shown(out_dir)}/comparison.{{json,md}}')


def as_markdown(rows: Sequence[Row], context: dict[str, str]) -> str:
    """The table for a page.

    Args:
        rows: One a contender.
        context: ``processor``, ``torch``, ``command`` and ``trained``.

    Returns:
        Markdown.
    """
    header, *body = _table(rows)
    return (
        f'Semantic FPN on Shapes, from scratch, {context["trained"]}. Measured on '
        f'{context["processor"]}, torch {context["torch"]}, with\n`'
        f'{context["command"]}`.\n\n{make_table(header, body)}\n\n{FOOTNOTE}\n'
    )


def _table(rows: Sequence[Row]) -> list[tuple[str, ...]]:
    """The header and the cells of the table."""
    height, width = rows[0].size
    header = (
        'model',
        'mIoU, %',
        'parameters, M',
        f'GMACs at {height}x{width}',
        'seconds an iteration',
    )
    cells = [
        (
            row.title,
            row.miou.show(2),
            f'{row.params / 1e6:.3f}',
            f'{row.macs / 1e9:.3f}',
            row.seconds.show(3),
        )
        for row in rows
    ]
    return [header, *cells]
