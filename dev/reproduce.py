"""Test a published checkpoint on its data set and keep what was measured.

Nothing is downloaded: without the file it says which one to fetch from where. Every
step is a command that the user can type as well; it is printed before it runs.
"""

from __future__ import annotations

import argparse
import datetime
import json
import shlex
from importlib import import_module
from pathlib import Path

from mmengine.config import Config
from mmengine.registry import DATASETS, DefaultScope

from dev.model_zoo.cards import get_backbone
from dev.model_zoo.figures import (
    Metric,
    Published,
    PublishedRun,
    Result,
    add_result,
    find_benchmark,
    read_published,
)
from dev.subprocess_steps import print_now, relpath, run_tool
from mmrapidnet import compat
from mmrapidnet.apis.cli import main_guard
from mmrapidnet.checkpoints.save import sha256_of
from mmrapidnet.config.load import load_config
from mmrapidnet.utils.env import processor_name
from mmrapidnet.utils.errors import UserError
from mmrapidnet.utils.folders import make_folder

PACKAGES = ('mmrapidnet', 'torch', 'mmengine', 'mmcv')


def reproduce(
    repo: Path,
    model: str,
    file: Path | None = None,
    data_root: Path | None = None,
    work_dir: Path | None = None,
    results: Path | None = None,
) -> Result:
    """Convert a published checkpoint, test it, and write the figures into a file.

    Args:
        repo: The repository, with ``configs/`` and ``tools/``.
        model: Name of a config, such as 'maskrcnn_rapidnet_m_coco'.
        file: The published checkpoint.
        data_root: Folder of the data set. Defaults to the config's.
        work_dir: Where the converted checkpoint and the logs go. Defaults to
            ``work_dirs/reproduce/<model>`` in the repository.
        results: The results file. Defaults to the repository's ``results.yml``.

    Returns:
        What was measured.

    Raises:
        UserError: If no checkpoint is published for the model, the file is not given,
            not there or where the converted one goes, or a step fails.
    """
    published = read_published(repo / 'configs' / 'published.yml')
    runs = find_runs(published, model)
    if file is None:
        choices = ' or '.join(describe_run(run) for run in runs)
        raise UserError(
            f'{model} needs its published file: fetch {choices}; then add --file FILE'
        )
    if not file.is_file():
        raise UserError(f'there is no file {file}: give the checkpoint you fetched')
    run = match_run(runs, file, model)
    config = repo / 'configs' / f'{model}.py'
    work_dir = work_dir or repo / 'work_dirs' / 'reproduce' / model
    results = results or repo / 'results.yml'
    make_folder(work_dir)

    cfg = load_config(str(config), data_root=data_root and str(data_root))
    converted = work_dir / f'{model}.pth'
    if converted.exists() and converted.samefile(file):
        raise UserError(
            f'the converted checkpoint goes to {converted}, which is the file to be '
            'converted: give another --work-dir'
        )
    converted.unlink(missing_ok=True)
    convert, test = repo / 'tools' / 'convert_checkpoint.py', repo / 'tools' / 'test.py'
    print_now('[1/2] converting')
    backbone = get_backbone(cfg)
    expected = ['--model', f'{backbone.type}_{backbone.arch}'.lower()]
    run_tool(convert, [file, converted, *expected], work_dir / 'convert.log')
    print_now('[2/2] testing')
    options = ['--work-dir', work_dir]
    if data_root is not None:
        options += ['--data-root', data_root]
    run_tool(test, [config, converted, *options], work_dir / 'test.log')

    result = make_result(model, run, file, cfg, work_dir / 'metrics.json')
    add_result(result, results)
    report(result, results)
    return result


def find_runs(published: Published, model: str) -> list[PublishedRun]:
    """Find the published runs of a model that have a checkpoint.

    Args:
        published: What is published.
        model: Name of a config.

    Returns:
        The runs.

    Raises:
        UserError: If there are none, naming the models that have one.
    """
    runs = [run for name, run in list_runs(published) if name == model]
    if not runs:
        names = dict.fromkeys(name for name, _ in list_runs(published))
        raise UserError(
            f'no checkpoint is published for {model}; there are for {", ".join(names)}'
        )
    return runs


def list_runs(published: Published) -> list[tuple[str, PublishedRun]]:
    """List every published checkpoint.

    Args:
        published: What is published.

    Returns:
        Names of configs, and their runs that have a checkpoint.
    """
    return [
        (model, run)
        for model, runs in published.models.items()
        for run in runs
        if run.where
    ]


def describe_run(run: PublishedRun) -> str:
    """Say which file to fetch from where."""
    return (
        f'{run.file or "the checkpoint (its name is not known here)"} from {run.where}'
    )


def match_run(runs: list[PublishedRun], file: Path, model: str) -> PublishedRun:
    """Tell which published run a file is of.

    Args:
        runs: The model's runs that have a checkpoint.
        file: The file; where there are several runs it must have its published name.
        model: The model's name, for the message.

    Returns:
        The run.

    Raises:
        UserError: If it cannot be told.
    """
    if len(runs) == 1:
        return runs[0]
    for run in runs:
        if run.file == file.name:
            return run
    raise UserError(
        f'{file.name} may be any of several checkpoints of {model}: give it its '
        f'published name, {" or ".join(str(run.file) for run in runs)}'
    )


def make_result(
    model: str,
    run: PublishedRun,
    file: Path,
    cfg: Config,
    metrics_file: Path,
) -> Result:
    """Make a record of a test.

    Args:
        model: Name of the config.
        run: The published run that the checkpoint is of.
        file: The published checkpoint.
        cfg: The config, with the data set that was tested on.
        metrics_file: The ``metrics.json`` that ``tools/test.py`` wrote.

    Returns:
        The record.

    Raises:
        UserError: If the test gave no such figure.
    """
    record = json.loads(metrics_file.read_text())
    command = ['python', '-m', 'dev.reproduce', model, '--file', file.name]
    return Result(
        model=model,
        checkpoint=file.name,
        sha256=sha256_of(file),
        setting=run.setting,
        figures={
            metric.name: _percent(record['metrics'], metric, metrics_file)
            for metric in find_benchmark(model).metrics
        },
        images=count_images(cfg),
        seconds_per_image=round(record['seconds_per_image'], 4),
        command=shlex.join(command),
        machine=processor_name(),
        versions={
            package: str(import_module(package).__version__)
            for package in (*PACKAGES, cfg.default_scope)
        },
        date=datetime.date.today().isoformat(),
    )


def report(result: Result, results: Path) -> None:
    """Say what was measured, where it went, and what to do next."""
    figures = ', '.join(f'{name} {value}' for name, value in result.figures.items())
    print_now(f'{result.model}: {figures}, written to {relpath(results)}')
    benchmark = find_benchmark(result.model)
    if result.images == benchmark.images:
        print_now(
            'python -m dev.model_cards puts it into the model index and the pages'
        )
    else:
        print_now(
            f'{result.images} images are not the {benchmark.images} of '
            f'{benchmark.title}: the model cards leave it out'
        )


def count_images(cfg: Config) -> int:
    """Count the images that a config is tested on."""
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        return len(DATASETS.build(cfg.test_dataloader.dataset))


def _percent(metrics: dict[str, float], metric: Metric, path: Path) -> float:
    if metric.key not in metrics:
        raise UserError(
            f'{path} has no {metric.key}: it has {", ".join(metrics) or "nothing"}'
        )
    return round(metrics[metric.key] * metric.scale, 2)


REPO = Path(__file__).resolve().parents[1]


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        'model', nargs='?', help='name of a config, such as maskrcnn_rapidnet_m_coco'
    )
    parser.add_argument(
        '--file', type=Path, help='the published checkpoint; without it, where it is'
    )
    parser.add_argument('--data-root', type=Path, help='the folder of the data set')
    parser.add_argument('--work-dir', type=Path, help='the folder for what it writes')
    parser.add_argument(
        '--results', type=Path, default=REPO / 'results.yml', help='the results file'
    )
    parser.add_argument(
        '--list', action='store_true', help='list models, their files and addresses'
    )
    args = parser.parse_args()
    if not (args.model or args.list):
        parser.error('name a model, or give --list')
    return args


def main() -> None:
    args = parse_args()
    if args.list:
        for model, run in list_runs(read_published(REPO / 'configs' / 'published.yml')):
            print(f'{model:26}  {run.file or "?":27}  {run.where}')
        return
    compat.apply()
    reproduce(REPO, args.model, args.file, args.data_root, args.work_dir, args.results)


if __name__ == '__main__':
    main_guard(main)
