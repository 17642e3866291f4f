"""Exported files tested beside their checkpoint: are the metrics the same?

Every step is a command that the user can type as well; it is printed before it runs.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType

from mmengine.config import Config
from rich.console import Console
from rich.table import Table

from dev.folders import renew_folder
from dev.model_zoo.coco_map import measure_map
from dev.model_zoo.figures import BENCHMARKS, Metric
from dev.model_zoo.markdown import make_table, place_in_page
from dev.subprocess_steps import print_now, relpath, run_tool
from mmrapidnet import compat
from mmrapidnet.apis.cli import main_guard
from mmrapidnet.config.libraries import require_library
from mmrapidnet.config.load import load_config
from mmrapidnet.deploy.formats import FORMATS, load_format
from mmrapidnet.utils.env import has_bf16, list_versions, processor_name
from mmrapidnet.utils.errors import UserError

# What a metric may be off by, in points (hundredths of the best value).
BOUNDS = {'fp32': 0.1, 'fp16': 0.5, 'bf16': 0.5, 'int8': 0.5}

# Scope of a config: the kind of its whole graph, and whose metrics it has.
_TASKS = {
    'mmdet': ('detector', 'maskrcnn_coco'),
    'mmseg': ('segmenter', 'semfpn_ade20k'),
    'mmpretrain': ('classifier', 'in1k'),
}
_BEGIN = '<!-- parity: made by python -m dev.parity -->'
_END = '<!-- end of parity -->'
_TOLD = ('torch', 'onnxruntime', 'openvino', 'nncf', 'ncnn')


@dataclass(frozen=True)
class Row:
    """What a test of a model gave, in PyTorch or from a file.

    Attributes:
        model: Name of the config.
        runtime: 'PyTorch', 'PyTorch, fused' or the file's format.
        precision: 'fp32', 'fp16', 'bf16' or 'int8'.
        metrics: Name to points.
        reference: The checkpoint's own, in PyTorch.
    """

    model: str
    runtime: str
    precision: str
    metrics: dict[str, float]
    reference: dict[str, float]

    @property
    def difference(self) -> float:
        """The largest difference of a metric from the checkpoint's, in points."""
        return max(
            abs(self.metrics[name] - self.reference[name]) for name in self.metrics
        )

    @property
    def holds(self) -> bool:
        """Whether it is within the bound."""
        return self.difference <= BOUNDS[self.precision]


def check_parity(
    repo: Path,
    models: Sequence[tuple[str, str]],
    out_dir: Path,
    formats: Sequence[str] = FORMATS,
    page: Path | None = None,
    command: str = '',
) -> list[Row]:
    """Export models to every format that runs here, and test every file.

    Args:
        repo: The repository, with ``tools/``.
        models: Path of a config and of its checkpoint, each.
        out_dir: Where files, ``parity.json`` and ``parity.md`` go; what an earlier
            check left there of the same models is replaced.
        formats: Names of formats. Defaults to all.
        page: A page to put the tables into. Defaults to none.
        command: The command to name in the tables.

    Returns:
        One row for each test.

    Raises:
        UserError: If a step fails, the page has no place for tables, a folder to be
            replaced holds what no check made, or, after all is written, a metric is
            off by more than its bound.
    """
    if page is not None:
        place_in_page('', page, _BEGIN, _END)
    rows = []
    for config, checkpoint in models:
        rows += _check_model(repo, config, checkpoint, out_dir, formats)
    context = dict(
        command=command, processor=processor_name('cpu'), versions=list_versions()
    )
    record = {**context, 'rows': [asdict(row) for row in rows]}
    (out_dir / 'parity.json').write_text(json.dumps(record, indent=2) + '\n')
    text = to_markdown(rows, **context)
    (out_dir / 'parity.md').write_text(text)
    if page is not None:
        page.write_text(place_in_page(text, page, _BEGIN, _END))
    print_tables(rows)
    print_now(f'written to {relpath(out_dir)}/parity.{{json,md}}')
    beyond = [row for row in rows if not row.holds]
    if beyond:
        worst = max(beyond, key=lambda row: row.difference / BOUNDS[row.precision])
        raise UserError(
            f'{worst.model} in {worst.runtime} {worst.precision} is off by '
            f'{worst.difference:.2f} points, where {BOUNDS[worst.precision]} are '
            f'allowed ({len(beyond)} of {len(rows)} rows are beyond their bound)'
        )
    return rows


def list_exports(
    kind: str, formats: Sequence[str] = FORMATS
) -> Iterator[tuple[ModuleType, str]]:
    """List the files that hold a kind of graph and run on this machine.

    Args:
        kind: 'detector', 'segmenter' or 'classifier'.
        formats: Names of formats. Defaults to all.

    Yields:
        A format and a precision. What is left out for want of a package is said.
    """
    for name in formats:
        try:
            writer = load_format(name)
        except UserError as error:
            print_now(f'left out: {error}')
            continue
        for precision in writer.PRECISIONS.get(kind, ()):
            if writer.RUNNABLE and (precision != 'bf16' or has_bf16()):
                yield writer, precision


def to_markdown(
    rows: Sequence[Row], command: str, processor: str, versions: dict[str, str]
) -> str:
    """Write the tables for a page.

    Args:
        rows: The rows, those of a model one after the other.
        command: The command that made them.
        processor: What it ran on.
        versions: Package to version.

    Returns:
        Markdown.
    """
    tables = [
        f'**{model}**\n\n{make_table(*_lay_out(own))}' for model, own in _group(rows)
    ]
    told = ', '.join(f'{name} {versions[name]}' for name in _TOLD if name in versions)
    note = (
        'Points on the held-out images; the difference is the largest of the metrics '
        f"from the checkpoint's in PyTorch. Measured on {processor}, {told}, with "
        f'`{command}`.'
    )
    return '\n\n'.join([*tables, note]) + '\n'


def print_tables(rows: Sequence[Row]) -> None:
    """Print a table for each model.

    Args:
        rows: The rows, those of a model one after the other.
    """
    console = Console()
    for model, own in _group(rows):
        header, body = _lay_out(own)
        table = Table(*header, title=model)
        for row, cells in zip(own, body, strict=True):
            table.add_row(*cells, style=None if row.holds else 'red')
        console.print(table)


def _check_model(
    repo: Path,
    config: str,
    checkpoint: str,
    out_dir: Path,
    formats: Sequence[str],
) -> list[Row]:
    cfg = load_config(config)
    kind, benchmark = _TASKS[require_library(cfg)]
    metrics = BENCHMARKS[benchmark].metrics
    if kind == 'detector':  # not every one has masks
        measured = cfg.test_evaluator.get('metric', ())
        metrics = [metric for metric in metrics if _coco_kind(metric) in measured]
    if not metrics:
        raise UserError(f'{config} is tested by none of bbox and segm of CocoMetric')
    model = Path(config).stem
    folder = out_dir / model
    renew_folder(folder, ['pytorch*', 'fused*', *(f'{name}_*' for name in FORMATS)])

    def test(file: str | Path, name: str, *options: str) -> dict[str, float]:
        work_dir = folder / name
        arguments = [config, file, '--work-dir', work_dir, *options]
        if kind == 'detector':
            prefix = work_dir / 'detections'
            arguments += ['--cfg-options', f'test_evaluator.outfile_prefix={prefix}']
        run_tool(repo / 'tools' / 'test.py', arguments, folder / f'{name}.log')
        if kind == 'detector':
            return _measure_points(cfg, work_dir, metrics)
        return _read_points(work_dir, metrics)

    print_now(f'{model}, {checkpoint}')
    reference = test(checkpoint, 'pytorch')
    fused = test(checkpoint, 'fused', '--fuse')
    rows = [
        Row(model, 'PyTorch', 'fp32', reference, reference),
        Row(model, 'PyTorch, fused', 'fp32', fused, reference),
    ]
    for writer, precision in list_exports(kind, formats):
        name = f'{writer.NAME}_{precision}'
        file = folder / f'{name}{writer.SUFFIX}'
        run_tool(
            repo / 'tools' / 'export.py',
            [
                config,
                checkpoint,
                '--format',
                writer.NAME,
                '--precision',
                precision,
                '--out',
                file,
            ],
            folder / f'{name}_export.log',
        )
        rows.append(Row(model, writer.NAME, precision, test(file, name), reference))
    return rows


def _read_points(work_dir: Path, metrics: Sequence[Metric]) -> dict[str, float]:
    found = json.loads((work_dir / 'metrics.json').read_text())['metrics']
    return {metric.name: found[metric.key] * metric.scale for metric in metrics}


def _measure_points(
    cfg: Config, work_dir: Path, metrics: Sequence[Metric]
) -> dict[str, float]:
    """Mmdet rounds to a tenth of a point, which is all that a file may be off by."""
    points = {}
    for metric in metrics:
        kind = _coco_kind(metric)
        detections = work_dir / f'detections.{kind}.json'
        found = measure_map(cfg.test_evaluator.ann_file, detections, kind)
        points[metric.name] = found * metric.scale
    return points


def _coco_kind(metric: Metric) -> str:
    """What COCO calls the kind of detections that a metric is of."""
    return 'bbox' if 'bbox' in metric.key else 'segm'


def _group(rows: Sequence[Row]) -> list[tuple[str, list[Row]]]:
    models = dict.fromkeys(row.model for row in rows)
    return [(model, [row for row in rows if row.model == model]) for model in models]


def _lay_out(rows: Sequence[Row]) -> tuple[list[str], list[list[str]]]:
    """Header and cells of the table of a model."""
    header = ['runtime', 'precision', *rows[0].metrics, 'difference', 'at most']
    cells = [
        [
            row.runtime,
            row.precision,
            *(f'{value:.2f}' for value in row.metrics.values()),
            f'{row.difference:.2f}',
            str(BOUNDS[row.precision]),
        ]
        for row in rows
    ]
    return header, cells


REPO = Path(__file__).resolve().parents[1]


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        'models',
        nargs='+',
        metavar='CONFIG CHECKPOINT',
        help='config file and checkpoint of each model',
    )
    parser.add_argument(
        '--formats', nargs='+', choices=FORMATS, default=FORMATS, help='default: all'
    )
    parser.add_argument(
        '--out',
        type=Path,
        default=REPO / 'work_dirs' / 'parity',
        help='folder for the files and tables',
    )
    parser.add_argument(
        '--into', type=Path, metavar='PAGE', help='a page to put the tables into'
    )
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    compat.apply()
    if len(args.models) % 2:
        raise UserError(f'{" ".join(args.models)}: give a checkpoint after each config')
    check_parity(
        REPO,
        list(zip(args.models[::2], args.models[1::2], strict=True)),
        args.out,
        args.formats,
        args.into,
        shlex.join(['python', '-m', 'dev.parity', *sys.argv[1:]]),
    )


if __name__ == '__main__':
    main_guard(main)
