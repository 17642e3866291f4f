"""What is measured by default, and all that docs/benchmark.md shows."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from dev.benchmark import plots, report, whole, whole_plot
from dev.benchmark.cases import list_classifiers
from dev.benchmark.rounds import Section, Settings, run
from dev.benchmark.runtimes import available_runtimes
from dev.benchmark.whole import Trained
from dev.model_zoo.classifiers import MODEL_NAMES
from dev.model_zoo.figures import Published, read_published
from dev.subprocess_steps import print_now, relpath

BASELINE = 'eager'
RESULTS = 'benchmark.json'
TABLES = 'benchmark.md'
FIGURE = 'benchmark.png'
# Of whole models: .json, .md and .png.
WHOLE = 'whole_models'

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
    device: str,
    threads: int,
    folder: str,
) -> None:
    """Measure what docs/benchmark.md shows of classifiers, and draw its figure.

    Args:
        repo: The repository, with ``configs/``.
        settings: How to measure.
        out: The folder to write to: ``benchmark.json``, ``.md`` and ``.png``.
        command: The command to name.
        page: The page to put the tables into; None for none.
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
    sections = list_classifier_sections(published, device, threads, folder)
    record = measure(sections, settings, out, command)
    plots.draw(record, published, out / FIGURE)
    if page is not None:
        text = report.place_in_page(report.to_markdown(record), page)
        page.write_text(text, encoding='utf-8')
    print_now(f'figure: {relpath(out / FIGURE)}')


def measure_whole_models(
    repo: Path,
    names: Collection[str],
    trained: Trained,
    settings: Settings,
    out: Path,
    command: str,
    page: Path | None,
    device: str,
    threads: int,
    folder: str,
) -> None:
    """Measure whole models and training steps, and draw accuracy against latency.

    Args:
        repo: The repository, with ``configs/``.
        names: Which of `whole.NAMES`.
        trained: See `whole.list_whole_sections`.
        settings: How to measure.
        out: The folder to write to: ``whole_models.json``, ``.md`` and ``.png``.
        command: The command to name.
        page: The page to put the tables into; None for none.
        device: 'cpu' or 'cuda'.
        threads: Number of threads on the CPU.
        folder: Where exported files go.

    Raises:
        UserError: If something cannot be measured, or the page has no place for
            tables.
    """
    settings.check()
    marks = whole.BEGIN, whole.END
    if page is not None:
        report.place_in_page('', page, *marks)
    published = read_published(repo / 'configs' / 'published.yml')
    sections = whole.list_whole_sections(names, trained, device, threads, folder)
    out.mkdir(parents=True, exist_ok=True)
    save = partial(report.write_json, path=out / f'{WHOLE}.json')
    record = run(sections, settings, command, save)
    tables = whole.to_markdown(record, published)
    (out / f'{WHOLE}.md').write_text(tables, encoding='utf-8')
    shown, picture = tables, out / f'{WHOLE}.png'
    if sections[0].title == whole.DETECTION:
        whole_plot.draw(record, published, picture)
        if page is not None:
            link = os.path.relpath(picture, page.parent)
            shown = f'![Published accuracy against latency]({link})\n\n{tables}'
    if page is not None:
        text = report.place_in_page(shown, page, *marks)
        page.write_text(text, encoding='utf-8')
    print_now(tables)
    print_now(f'written to {relpath(out)}/{WHOLE}.*')


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
