"""Backbones trained alike on Shapes, several seeds each, in one table."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from mmengine.registry import MODELS
from torch import nn

from dev.comparison.runs import Run, check_iters, length_of, train_and_test
from dev.comparison.spread import Spread
from dev.comparison.table import report
from dev.model_zoo.classifiers import Complexity
from dev.subprocess_steps import print_now, relpath
from mmrapidnet.apis.complexity import count_macs
from mmrapidnet.config.load import load_config
from mmrapidnet.datasets.shapes import write_shapes
from mmrapidnet.utils.errors import UserError
from mmrapidnet.utils.folders import make_folder

# Backbone: what it is called; its config is semfpn_<backbone>_shapes.py.
BACKBONES = {
    'rapidnet_ti': 'RapidNet-Ti',
    'repvit_m0_9': 'RepViT-M0.9',
    'mobilevig_ti': 'MobileViG-Ti',
    'mobilenetv2_x1_4': 'MobileNetV2 x1.4',
}
SEEDS = (0, 1, 2)
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
class Row:
    """What is known of a backbone.

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
    models: Sequence[str] = tuple(BACKBONES),
    iters: int | None = None,
    command: str = '',
) -> list[Row]:
    """Train and test every backbone once per seed, and write the table.

    Args:
        repo: The repository, with ``configs/`` and ``tools/``.
        data_root: Where Shapes is, or goes if nothing is there.
        out_dir: Where runs, ``comparison.json`` and ``comparison.md`` go.
        seeds: One a run. Defaults to (0, 1, 2).
        models: Names in `BACKBONES`. Defaults to all.
        iters: Iterations of a training. Defaults to the configs' own.
        command: The command to name in the table.

    Returns:
        One row per backbone.

    Raises:
        UserError: If an argument does not fit, a step fails, or ``out_dir`` holds
            runs of another length.
    """
    _check(seeds, models, iters)
    if not data_root.exists():
        print_now(f'Shapes, a data set drawn on the spot, into {relpath(data_root)}')
        write_shapes(data_root, progress=True)
    make_folder(out_dir)
    runs = {
        (seed, model): Run(
            config=repo / 'configs' / f'semfpn_{model}_shapes.py',
            data_root=data_root / 'ade',
            folder=out_dir / f'{model}_seed{seed}',
            seed=seed,
            iters=iters,
        )
        # The seeds outside: what slows the machine for a while slows all backbones.
        for seed in seeds
        for model in models
    }
    for number, ((seed, model), run) in enumerate(runs.items(), start=1):
        print_now(f'[{number}/{len(runs)}] {BACKBONES[model]}, seed {seed}')
        train_and_test(run, repo)
    rows = [summarise(model, [runs[s, model] for s in seeds]) for model in models]
    first, *_ = runs.values()
    trained = f'{length_of(first)} iterations'
    report(
        out_dir / 'comparison',
        f'Semantic FPN on Shapes, from scratch, {trained}',
        _table(rows),
        FOOTNOTE,
        command,
        dict(trained=trained, rows=[asdict(row) for row in rows]),
    )
    return rows


def summarise(model: str, runs: Sequence[Run]) -> Row:
    """Gather what the runs of a backbone measured and what it costs.

    Args:
        model: Its name in `BACKBONES`.
        runs: Complete ones.

    Returns:
        Its row.

    Raises:
        UserError: If a run logged fewer than two iterations.
    """
    cfg = load_config(str(runs[0].config))
    backbone = MODELS.build(cfg.model.backbone)
    size = tuple(cfg.model.data_preprocessor.size)
    cost = measure_used(backbone, size)
    return Row(
        title=BACKBONES[model],
        config=runs[0].config.name,
        miou=Spread.of([run.metrics()['mIoU'] for run in runs]),
        params=cost.params,
        macs=cost.macs,
        size=size,
        seconds=Spread.of([median_seconds(run.folder) for run in runs]),
    )


def _check(seeds: Sequence[int], models: Sequence[str], iters: int | None) -> None:
    for name, values in (('--seeds', seeds), ('--models', models)):
        if not values or len(set(values)) != len(values):
            given = ' '.join(map(str, values))
            raise UserError(f'{name} {given}: give one or more, each once')
    unknown = ', '.join(model for model in models if model not in BACKBONES)
    if unknown:
        raise UserError(
            f'--models: unknown {unknown}: choose some of {", ".join(BACKBONES)}'
        )
    check_iters(iters)


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
            f'{relpath(work_dir)} logged {len(seconds)} times of training iterations, '
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
