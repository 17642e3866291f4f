"""The files of `dev.parity`: exported and tested by the tools, one after the other."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from types import ModuleType

from mmengine.config import Config

from dev.model_zoo.coco_map import measure_map
from dev.model_zoo.figures import BENCHMARKS, Metric
from dev.parity_tables import Cell
from dev.subprocess_steps import print_now, run_tool
from mmrapidnet.apis.auto_precision import WHOLE
from mmrapidnet.checkpoints.save import sha256_of
from mmrapidnet.compat.coco_metric import count_detections
from mmrapidnet.config.evaluators import list_metrics
from mmrapidnet.config.libraries import require_library
from mmrapidnet.config.load import load_config
from mmrapidnet.deploy.formats import FORMATS, list_precisions, load_format
from mmrapidnet.utils.env import list_versions, processor_name
from mmrapidnet.utils.errors import UserError

REPO = Path(__file__).resolve().parents[1]
# Kind of a whole graph: whose metrics it has.
_BENCHMARKS = {
    'detector': 'maskrcnn_coco',
    'segmenter': 'semfpn_ade20k',
    'classifier': 'in1k',
}
# Where plain int8 is beyond its bound: what is left in float is found with these.
_CONTROL = ('--max-drop', '0.4', '--metric-images', '1000')


@dataclass(frozen=True)
class Model:
    """A trained model.

    Attributes:
        config: Path of its config.
        checkpoint: Path of its weights.
        folder: Where what is measured of it is kept.
    """

    config: str
    checkpoint: str
    folder: Path

    @property
    def name(self) -> str:
        """That of the config."""
        return Path(self.config).stem

    @cached_property
    def cfg(self) -> Config:
        """The config."""
        return load_config(self.config)

    @property
    def kind(self) -> str:
        """Of its graph: 'detector', 'segmenter' or 'classifier'."""
        return WHOLE[require_library(self.cfg)]

    @property
    def metrics(self) -> list[Metric]:
        """What it is judged by; of boxes or masks what its evaluator has."""
        metrics = BENCHMARKS[_BENCHMARKS[self.kind]].metrics
        if self.kind != 'detector':
            return list(metrics)
        judged = list_metrics(self.cfg.test_evaluator)[0]['metric']
        found = [metric for metric in metrics if _iou_kind(metric) in judged]
        if not found:
            raise UserError(
                f'{self.config} is tested by none of bbox and segm of CocoMetric'
            )
        return found

    @cached_property
    def key(self) -> str:
        """What a figure of it depends on, as a digest."""
        if not Path(self.checkpoint).is_file():
            raise UserError(f'there is no checkpoint {self.checkpoint}')
        parts = [
            self.cfg.to_dict(),
            sha256_of(Path(self.checkpoint)),
            list_versions(),
            processor_name('cpu'),
        ]
        return sha256(json.dumps(parts, default=str).encode()).hexdigest()


def list_files(
    kind: str, formats: Sequence[str] = FORMATS
) -> Iterator[tuple[str, str, str]]:
    """List the formats and precisions for a kind of graph.

    Args:
        kind: 'detector', 'segmenter' or 'classifier'.
        formats: Names of formats. Defaults to all.

    Yields:
        A format, a precision, and why no file of them can be tested here; empty if one
        can. Of a format that is not installed a single one, without a precision.
    """
    for name in formats:
        try:
            writer = load_format(name)
        except UserError as error:
            print_now(f'left out: {error}')
            yield name, '', 'not installed here'
            continue
        every = (p for precisions in writer.PRECISIONS.values() for p in precisions)
        for precision in dict.fromkeys(every):
            yield name, precision, _find_reason(writer, kind, precision)


def _find_reason(writer: ModuleType, kind: str, precision: str) -> str:
    """Why no file can be tested; empty if one can."""
    held = writer.PRECISIONS.get(kind, ())
    if not writer.RUNNABLE:
        return 'not run here'
    if not held:
        return f'holds no {kind}s'
    if precision not in held:
        return f'no {precision} {kind}s'
    return '' if precision in list_precisions(writer, kind) else f'no {precision} here'


def measure_file(model: Model, cell: Cell, folder: Path) -> Cell:
    """Export a model and test the file.

    Args:
        model: The model.
        cell: The format, the precision, and the metrics of the checkpoint.
        folder: A folder for the file and the test.

    Returns:
        The cell with figures, or with what went wrong. int8 that is beyond its bound
        is tried again with layers in float, where the format can find them.
    """
    measured = _try(model, cell, folder)
    can_control = hasattr(load_format(cell.runtime), 'CONTROLS_ACCURACY')
    if cell.precision == 'int8' and can_control and not measured.holds:
        measured = _try(model, replace(cell, controlled=True), folder)
    return measured


def _try(model: Model, cell: Cell, folder: Path) -> Cell:
    name = f'{cell.runtime}_{cell.precision}'
    file = folder / f'{name}{load_format(cell.runtime).SUFFIX}'
    options = ('--format', cell.runtime, '--precision', cell.precision)
    if cell.controlled:
        options += _CONTROL
    try:
        run_tool(
            REPO / 'tools' / 'export.py',
            [model.config, model.checkpoint, *options, '--out', file],
            model.folder / f'{name}_export.log',
        )
    except UserError as error:
        differs = 'was not written' in str(error)
        reason = 'differs too much' if differs else 'cannot be exported'
        return replace(cell, reason=reason, fault=str(error))
    try:
        metrics = run_test(model, file, folder, model.folder / f'{name}.log')
    except UserError as error:
        return replace(cell, reason='cannot be tested', fault=str(error))
    return replace(cell, metrics=metrics)


def run_test(
    model: Model, file: str | Path, folder: Path, log: Path, *options: str
) -> dict[str, float]:
    """Test a checkpoint or a file.

    Args:
        model: The model.
        file: The checkpoint or the file.
        folder: A folder for the test.
        log: The file for the tool's output.
        *options: Further ones of ``tools/test.py``.

    Returns:
        Name of each of the model's metrics to its value in points.

    Raises:
        UserError: If the test fails.
    """
    work_dir = folder / 'test'
    arguments = [model.config, file, '--work-dir', work_dir, *options]
    if model.kind == 'detector':
        prefix = f'test_evaluator.outfile_prefix={work_dir / "detections"}'
        arguments += ['--cfg-options', prefix]
    run_tool(REPO / 'tools' / 'test.py', arguments, log)
    if model.kind == 'detector':
        return _measure_points(model, work_dir)
    found = json.loads((work_dir / 'metrics.json').read_text())['metrics']
    return {metric.name: found[metric.key] * metric.scale for metric in model.metrics}


def _measure_points(model: Model, work_dir: Path) -> dict[str, float]:
    """Mmdet rounds to a tenth of a point, which is all that a file may be off by."""
    points = {}
    evaluator = model.cfg.test_evaluator
    counted = count_detections(evaluator.get('proposal_nums', (100, 300, 1000)))
    for metric in model.metrics:
        kind = _iou_kind(metric)
        detections = work_dir / f'detections.{kind}.json'
        found = measure_map(evaluator.ann_file, detections, kind, counted)
        points[metric.name] = found * metric.scale
    return points


def _iou_kind(metric: Metric) -> str:
    return 'bbox' if 'bbox' in metric.key else 'segm'
