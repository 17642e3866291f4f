"""What is measured by default, and all that docs/benchmark.md shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from dev.benchmark import plots, report
from dev.benchmark.cases import list_classifiers
from dev.benchmark.dense_cases import ConfiguredModel, draw_example, list_dense
from dev.benchmark.rounds import Section, Settings, run
from dev.benchmark.runtimes import available_runtimes
from dev.benchmark.train_cases import list_training
from dev.model_zoo.classifiers import MODEL_NAMES
from dev.model_zoo.figures import Published, read_published
from dev.subprocess_steps import print_now, relpath
from mmrapidnet.utils.errors import UserError

BASELINE = 'eager'
RESULTS = 'benchmark.json'
TABLES = 'benchmark.md'
FIGURE = 'benchmark.png'

_CLASSIFIER_RUNTIMES = {
    'cpu': (
        'eager',
        'fused',
        'fused-channels_last',
        'compile',
        'onnxruntime',
        'openvino',
        'openvino-bf16',
        'openvino-int8',
        'ncnn',
    ),
    'cuda': (
        'eager',
        'channels_last',
        'eager-fp16',
        'channels_last-fp16',
        'fused',
        'fused-channels_last',
        'fused-channels_last-fp16',
        'compile',
        'compile-fp16',
    ),
}
_DENSE_RUNTIMES = {
    'cpu': (
        'eager',
        'fused',
        'fused-channels_last',
        'onnxruntime',
        'openvino',
        'openvino-bf16',
    ),
    'cuda': ('eager', 'fused', 'fused-channels_last', 'fused-channels_last-fp16'),
}
_TRAINING_RUNTIMES = {
    'cpu': ('eager', 'channels_last', 'eager-bf16'),
    'cuda': ('eager', 'channels_last', 'channels_last-fp16'),
}
_THROUGHPUT_RUNTIMES = (
    'eager',
    'fused-channels_last',
    'openvino',
    'openvino-bf16',
    'openvino-int8',
)
_PEER_RUNTIMES = ('eager', 'openvino', 'openvino-bf16', 'openvino-int8')
_PEERS = (
    'rapidnet_ti',
    'repvit_m0_9',
    'mobilevig_ti',
    'mobilenetv2_x1_4',
    'timm:fastvit_t8',
    'mmpretrain:resnet50_8xb32_in1k',
)


@dataclass(frozen=True)
class Dense:
    """A whole model of docs/benchmark.md.

    Attributes:
        title: What it is called there.
        config: Name of its config.
        picture: Height and width of the image file.
        size: What the file is resized to.
        crop: Images that it trains on.
    """

    title: str
    config: str
    picture: tuple[int, int]
    size: tuple[int, int]
    crop: tuple[int, int]


# Pictures as they are common in COCO and ADE20K; crops as in the recipes.
MASK_RCNN = Dense(
    title='Mask R-CNN RapidNet-S',
    config='maskrcnn_rapidnet_s_coco',
    picture=(427, 640),
    size=(800, 1216),
    crop=(800, 1216),
)
SEMANTIC_FPN = Dense(
    title='Semantic FPN RapidNet-S',
    config='semfpn_rapidnet_s_ade20k',
    picture=(480, 640),
    size=(512, 683),
    crop=(512, 512),
)


def default_runtimes(task: str, device: str) -> list[str]:
    """The runtimes that are measured unless some are named.

    Args:
        task: 'classifiers', 'dense' or 'train'.
        device: 'cpu' or 'cuda'.

    Returns:
        Those that work on this machine.
    """
    runtimes = {
        'classifiers': _CLASSIFIER_RUNTIMES,
        'dense': _DENSE_RUNTIMES,
        'train': _TRAINING_RUNTIMES,
    }[task]
    return available_runtimes(runtimes[device], device)


def measure(
    sections: Sequence[Section], settings: Settings, out: Path, command: str
) -> dict[str, Any]:
    """Measure, print tables, and write ``benchmark.json`` and ``benchmark.md``.

    Args:
        sections: What to measure.
        settings: How.
        out: The folder to write to.
        command: The command to name.

    Returns:
        The record, see `rounds.run`.

    Raises:
        UserError: As `rounds.run`.
    """
    settings.check()
    out.mkdir(parents=True, exist_ok=True)
    save = partial(report.write_json, path=out / RESULTS)
    record = run(sections, settings, command, save)
    tables = report.to_markdown(record)
    (out / TABLES).write_text(tables, encoding='utf-8')
    report.print_tables(record)
    print_now(f'written to {relpath(out)}/{{{RESULTS},{TABLES}}}')
    return record


def measure_for_page(
    repo: Path,
    settings: Settings,
    out: Path,
    command: str,
    page: Path | None,
    trained: dict[str, tuple[str, str]],
    device: str,
    threads: int,
    folder: str,
) -> None:
    """Measure all that docs/benchmark.md shows, and draw its figure.

    Args:
        repo: The repository, with ``configs/``.
        settings: How to measure.
        out: The folder to write to: ``benchmark.json``, ``.md`` and ``.png``.
        command: The command to name.
        page: The page to put the tables into; None for none.
        trained: Name of a model to the config and the checkpoint of a training; the
            project's config with random weights without one.
        device: 'cpu' or 'cuda'.
        threads: Number of threads on the CPU.
        folder: Where exported files go.

    Raises:
        UserError: If something cannot be measured, or the page has no place for
            tables.
    """
    settings.check()
    if page is not None:
        report.place_in_page('', page)
    published = read_published(repo / 'configs' / 'published.yml')
    out.mkdir(parents=True, exist_ok=True)
    where = (device, threads, folder)
    sections = [*list_classifier_sections(published, *where)]
    for model in (MASK_RCNN, SEMANTIC_FPN):
        ours = str(repo / 'configs' / f'{model.config}.py'), None
        picture = draw_example(folder, model.picture)
        source = ConfiguredModel(*trained.get(model.config, ours), model.size)
        runtimes = default_runtimes('dense', device)
        if model is SEMANTIC_FPN and source.checkpoint:
            # int8 is for segmenters, and needs images of their data set.
            runtimes += available_runtimes(('openvino-int8',), device)
        sections.append(
            Section(
                f'{model.title}, from an image file to the result',
                list_dense(source, runtimes, picture, *where),
                BASELINE,
            )
        )
    for model in (MASK_RCNN, SEMANTIC_FPN):
        config = str(repo / 'configs' / f'{model.config}.py')
        runtimes = default_runtimes('train', device)
        cases = list_training(ConfiguredModel(config), runtimes, model.crop, 1, *where)
        title = f'{model.title}, a training step'
        sections.append(Section(title, cases, BASELINE, memory=False))
    record = measure(sections, settings, out, command)
    plots.draw(record, published, out / FIGURE)
    if page is not None:
        tables = report.to_markdown(record)
        text = report.place_in_page(tables, page)
        page.write_text(text, encoding='utf-8')
    print_now(f'figure: {relpath(out / FIGURE)}')


def read_trained(given: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Read which of the page's models are trained ones.

    Args:
        given: Each as 'CONFIG=FILE', the config by its path.

    Returns:
        Name of a model to its config and its checkpoint.

    Raises:
        UserError: If one is not written so, or of no model of the page.

    Examples:
        >>> read_trained(['run/semfpn_rapidnet_s_ade20k.py=run/iter_440.pth'])
        {'semfpn_rapidnet_s_ade20k': ('run/semfpn_rapidnet_s_ade20k.py',
        'run/iter_440.pth')}
    """
    known = [model.config for model in (MASK_RCNN, SEMANTIC_FPN)]
    trained = {}
    for config, _, file in (item.partition('=') for item in given):
        path = Path(config)
        if path.stem not in known or path.suffix != '.py' or not file:
            raise UserError(
                f'--checkpoint {config}={file}: write CONFIG=FILE, where CONFIG is the '
                f'path of one of {", ".join(f"{name}.py" for name in known)}'
            )
        trained[path.stem] = config, file
    return trained


def list_classifier_sections(
    published: Published, device: str, threads: int, folder: str
) -> list[Section]:
    """The page's tables of classifiers.

    Args:
        published: Whose accuracies decide which models are in the figure.
        device: 'cpu' or 'cuda'.
        threads: Number of threads on the CPU.
        folder: Where exported files go.

    Returns:
        RapidNet-Ti in every runtime, its peers in the same runtimes, its throughput
        over batch sizes (on a GPU in the first table), and one runtime for the
        figure.
    """
    where = (device, threads, folder)
    runtimes = default_runtimes('classifiers', device)
    drawn = [name for name in MODEL_NAMES if plots.find_accuracy(name, published)]
    drawn += [name for name in _PEERS if name not in drawn]
    if device == 'cpu':
        batches, peer_runtimes = (1,), available_runtimes(_PEER_RUNTIMES)
        figure_runtime = available_runtimes(('openvino', 'onnxruntime', 'eager'))[0]
    else:
        batches, peer_runtimes = (1, 64), ['eager', 'compile-fp16']
        figure_runtime = 'compile'
    sections = [
        Section(
            'RapidNet-Ti, backbone and classifier',
            list_classifiers(('rapidnet_ti',), runtimes, (224, 512), batches, *where),
            BASELINE,
        ),
        Section(
            'Peers in the same runtime and precision',
            list_classifiers(_PEERS, peer_runtimes, (512,), batches, *where),
            'rapidnet_ti',
            memory=False,
        ),
        Section(
            'Models of the figure',
            list_classifiers(drawn, (figure_runtime,), (224,), (1,), *where),
            'rapidnet_ti',
            memory=False,
        ),
    ]
    if device == 'cpu':
        runtimes = available_runtimes(_THROUGHPUT_RUNTIMES)
        throughput = list_classifiers(
            ('rapidnet_ti',), runtimes, (224,), (8, 32), *where
        )
        section = Section('RapidNet-Ti, throughput', throughput, BASELINE, memory=False)
        sections.insert(2, section)
    return sections
