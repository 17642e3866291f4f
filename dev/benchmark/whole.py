"""Whole models side by side: detectors and segmenters, from image file to result."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmengine.utils import get_installed_path

from dev.benchmark import report
from dev.benchmark.cases import Case
from dev.benchmark.dense_cases import ConfiguredModel, draw_example, list_dense
from dev.benchmark.peer_cases import list_peer
from dev.benchmark.peer_detectors import PEERS, require_peer
from dev.benchmark.rounds import Row, Section
from dev.benchmark.runtimes import available_runtimes
from dev.benchmark.train_cases import list_training
from dev.model_zoo import markdown
from dev.model_zoo.figures import Published
from mmrapidnet.utils.errors import UserError

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
DETECTION = 'Detectors, from an image file to the result'
BASELINE = 'eager'
BEGIN = '<!-- whole models: made by python -m dev.benchmark whole -->'
END = '<!-- end of whole models -->'
COLUMNS = (
    'model',
    'runtime',
    'size',
    'median ms',
    'p10',
    'p90',
    'times eager',
    'times Mask R-CNN',
    'box AP',
    'mask AP',
    'params M',
)
_RUNTIMES = {
    'cpu': ('eager', 'onnxruntime', 'openvino', 'openvino-bf16'),
    'cuda': ('eager', 'fused-channels_last', 'fused-channels_last-fp16'),
}
_TRAINING_RUNTIMES = {
    'cpu': ('eager', 'channels_last', 'eager-bf16'),
    'cuda': ('eager', 'channels_last', 'channels_last-fp16'),
}


@dataclass(frozen=True)
class WholeModel:
    """A whole model of docs/benchmark.md.

    Attributes:
        title: What it is called there.
        config: Name of its config, or where a library has it.
        picture: Height and width of the image file.
        size: What the file is stretched to; None for what the config's test pipeline
            does. Defaults to None.
        crop: Images that it trains on; None if no training step is measured. Defaults
            to None.
        keeps_int8: Whether its files of 8 bits keep its metric. Defaults to False.
        untrained: Settings with which random weights find as many objects as they may,
            as trained ones would. Defaults to none.
    """

    title: str
    config: str
    picture: tuple[int, int]
    size: tuple[int, int] | None = None
    crop: tuple[int, int] | None = None
    keeps_int8: bool = False
    untrained: tuple[tuple[str, Any], ...] = ()

    @property
    def name(self) -> str:
        """The config's name."""
        return self.config.rpartition('/')[2].removesuffix('.py')

    def find_config(self) -> str:
        """The config's path."""
        library, _, path = self.config.rpartition('::')
        if not library:
            return str(CONFIGS / f'{path}.py')
        return str(Path(get_installed_path(library)) / '.mim' / 'configs' / path)


# Pictures as they are common in COCO and ADE20K; crops as in the recipes.
MASK_RCNN = WholeModel(
    title='Mask R-CNN RapidNet-S',
    config='maskrcnn_rapidnet_s_coco',
    picture=(427, 640),
    size=(800, 1216),
    crop=(800, 1216),
    keeps_int8=True,
)
_EVERY_SCORE = (('model.test_cfg.score_thr', 0.0),)
DETECTORS = (
    MASK_RCNN,
    WholeModel(
        title='Mask R-CNN RepViT-M1.1',
        config='maskrcnn_repvit_m1_1_coco',
        picture=(427, 640),
        size=(800, 1216),
    ),
    WholeModel(
        title='RTMDet-Ins RapidNet-Ti',
        config='rtmdet_ins_rapidnet_ti_coco',
        picture=(427, 640),
        untrained=_EVERY_SCORE,
    ),
    WholeModel(
        title='RTMDet-Ins-tiny',
        config='mmdet::rtmdet/rtmdet-ins_tiny_8xb32-300e_coco.py',
        picture=(427, 640),
        untrained=_EVERY_SCORE,
    ),
)
SEGMENTERS = (
    WholeModel(
        title='Semantic FPN RapidNet-S',
        config='semfpn_rapidnet_s_ade20k',
        picture=(480, 640),
        size=(512, 683),
        crop=(512, 512),
        keeps_int8=True,
    ),
    WholeModel(
        title='Semantic FPN RapidNet-Ti for phones',
        config='semfpn_lite_rapidnet_ti_ade20k',
        picture=(480, 640),
        size=(512, 683),
        keeps_int8=True,
    ),
)
MODELS = {model.name: model for model in (*DETECTORS, *SEGMENTERS)}
NAMES = (*MODELS, *PEERS)

Trained = dict[str, tuple[str, str]]


def read_trained(given: Sequence[str]) -> Trained:
    """Read which of the models are trained ones.

    Args:
        given: Each as 'CONFIG=FILE', the config by its path.

    Returns:
        Name of a model to its config and its checkpoint.

    Raises:
        UserError: If one is not written so, or of no model here.

    Examples:
        >>> read_trained(['run/semfpn_rapidnet_s_ade20k.py=run/iter_440.pth'])
        {'semfpn_rapidnet_s_ade20k': ('run/semfpn_rapidnet_s_ade20k.py',
        'run/iter_440.pth')}
    """
    trained = {}
    for config, _, file in (item.partition('=') for item in given):
        path = Path(config)
        if path.stem not in MODELS or path.suffix != '.py' or not file:
            raise UserError(
                f'--checkpoint {config}={file}: write CONFIG=FILE, where CONFIG is the '
                f'path of one of {", ".join(f"{name}.py" for name in MODELS)}'
            )
        trained[path.stem] = config, file
    return trained


def list_whole_sections(
    names: Collection[str], trained: Trained, device: str, threads: int, folder: str
) -> list[Section]:
    """List the tables of whole models and of their training steps.

    Args:
        names: Which of `NAMES`.
        trained: Name of a model to the config and the checkpoint of a training; the
            config with random weights without one.
        device: 'cpu' or 'cuda'.
        threads: Number of threads on the CPU.
        folder: Where exported files go.

    Returns:
        All detectors in one table, in turns; then a table for each segmenter, and for
        each training step.

    Raises:
        UserError: If there is no model of such a name, or one cannot be measured.
    """
    unknown = [name for name in names if name not in NAMES]
    if unknown:
        raise UserError(f'--models {unknown[0]}: choose some of {", ".join(NAMES)}')
    where = (device, threads, folder)
    runtimes = available_runtimes(_RUNTIMES[device], device)
    chosen = [model for name, model in MODELS.items() if name in names]
    detectors, missing, sections = [], {}, []
    for model in chosen:
        cases = _list_model(model, runtimes, trained, *where)
        if model in DETECTORS:
            detectors += cases
        else:
            title = f'{model.title}, from an image file to the result'
            sections.append(Section(title, cases, BASELINE, memory=False))
    for name in (name for name in PEERS if name in names):
        try:
            require_peer(name)
        except UserError:
            missing[name] = 'not installed'
        else:
            picture = draw_example(folder, MASK_RCNN.picture)
            detectors += list_peer(name, runtimes, picture, *where)
    if missing and not detectors:
        # A table of nothing but what is missing.
        require_peer(next(iter(missing)))
    if detectors:
        together = Section(
            title=DETECTION,
            cases=detectors,
            baseline=BASELINE,
            memory=False,
            together=True,
            missing=missing,
        )
        sections.insert(0, together)
    training = [model for model in chosen if model.crop]
    return [*sections, *(_list_steps(model, *where) for model in training)]


def to_markdown(record: dict[str, Any], published: Published) -> str:
    """Write the tables for a page.

    Args:
        record: As `dev.benchmark.rounds.run` returns it.
        published: The accuracies.

    Returns:
        Markdown.
    """
    detectors = [row for row in record['rows'] if row.section == DETECTION]
    others = [row for row in record['rows'] if row.section != DETECTION]
    parts = []
    if detectors:
        missing = record['missing'].get(DETECTION, {})
        parts.append(f'**{DETECTION}**')
        parts.append(make_table(detectors, missing, published))
        parts.append(_describe_accuracies(detectors, missing, published))
    parts += report.make_tables(others)
    return '\n\n'.join([*parts, report.describe(record)]) + '\n'


def make_table(
    rows: Sequence[Row], missing: dict[str, str], published: Published
) -> str:
    """Lay detectors out, with published accuracies beside their latencies.

    Args:
        rows: What was measured, all in turns.
        missing: Name of a model that was not to why.
        published: The accuracies.

    Returns:
        Markdown.
    """
    references = {
        row.runtime: row.median_ms for row in rows if row.model == MASK_RCNN.name
    }
    cells = [_make_cells(row, references, published) for row in rows]
    for name, why in missing.items():
        figures = _find_figures(name, published)
        cells.append((name, why, *[''] * (len(COLUMNS) - 5), *figures, ''))
    return markdown.make_table(COLUMNS, cells)


def find_accuracy(model: str, published: Published) -> tuple[dict[str, float], str]:
    """Find what a detector or segmenter is published to reach on its data set.

    Args:
        model: Its name, of `NAMES`.
        published: The accuracies.

    Returns:
        The figures of the first run that has some, in percent, and their source.
    """
    peers = [published.peers[model]] if model in published.peers else []
    runs = [*published.models.get(model, []), *peers]
    run = next((run for run in runs if run.figures), None)
    return (run.figures, run.source) if run else ({}, '')


def _list_model(
    model: WholeModel, runtimes: Sequence[str], trained: Trained, *where: Any
) -> list[Case]:
    device, _, folder = where
    config, checkpoint = trained.get(model.name, (model.find_config(), None))
    options = () if checkpoint else model.untrained
    source = ConfiguredModel(config, checkpoint, model.size, options)
    if model.keeps_int8 and checkpoint and device == 'cpu':
        # int8 needs images of the data set that it was trained on.
        runtimes = [*runtimes, *available_runtimes(('openvino-int8',), device)]
    picture = draw_example(folder, model.picture)
    return list_dense(source, runtimes, picture, *where)


def _list_steps(model: WholeModel, *where: Any) -> Section:
    device, *_ = where
    runtimes = available_runtimes(_TRAINING_RUNTIMES[device], device)
    source = ConfiguredModel(model.find_config())
    cases = list_training(source, runtimes, model.crop, 1, *where)
    return Section(f'{model.title}, a training step', cases, BASELINE, memory=False)


def _make_cells(
    row: Row, references: dict[str, float], published: Published
) -> tuple[str, ...]:
    cells = dict(zip(report.COLUMNS, report.make_cells(row)))
    reference = references.get(row.runtime)
    return (
        *(cells[name] for name in COLUMNS[:6]),
        cells['ratio'],
        '' if reference is None else f'{reference / row.median_ms:.2f}',
        *_find_figures(row.model, published),
        cells['params M'],
    )


def _find_figures(model: str, published: Published) -> tuple[str, ...]:
    figures, _ = find_accuracy(model, published)
    return tuple(str(figures.get(name, '')) for name in ('box AP', 'mask AP'))


def _describe_accuracies(
    rows: Sequence[Row], missing: dict[str, str], published: Published
) -> str:
    names = dict.fromkeys([*(row.model for row in rows), *missing])
    found = {name: find_accuracy(name, published)[1] for name in names}
    sources = '; '.join(f'{name}: {source}' for name, source in found.items() if source)
    return (
        'Times eager: than the same model in PyTorch; times Mask R-CNN: than '
        f'{MASK_RCNN.name} in the same runtime. AP: published, of trained weights, on '
        f'COCO val2017{f" ({sources})" if sources else ""}.'
    )
