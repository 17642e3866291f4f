"""Published accuracy of whole detectors against the latency measured here."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dev.benchmark.rounds import Row
from dev.benchmark.whole import DETECTION, find_accuracy
from dev.model_zoo.figures import Published

METRICS = ('mask AP', 'box AP')
_MARKERS = 'osD^vP*'


def draw(
    record: dict[str, Any], published: Published, out: str | Path
) -> dict[str, list[str]]:
    """Draw mask AP, and beside it box AP, against latency in every runtime.

    A model of which no accuracy is published is a dotted line at its least latency.

    Args:
        record: As `dev.benchmark.rounds.run` returns it.
        published: The accuracies.
        out: The picture to write.

    Returns:
        Names of the models by the metric that they are drawn with.
    """
    from matplotlib.figure import Figure

    models: dict[str, list[Row]] = {}
    for row in record['rows']:
        if row.section == DETECTION:
            models.setdefault(row.model, []).append(row)
    runtimes = dict.fromkeys(row.runtime for rows in models.values() for row in rows)
    markers = dict(zip(runtimes, _MARKERS))
    figure = Figure(figsize=(11, 6), layout='constrained')
    drawn = {}
    for axes, metric in zip(figure.subplots(1, len(METRICS)), METRICS):
        drawn[metric] = _draw_panel(axes, models, metric, markers, published)
    figure.legend(loc='outside upper center', ncols=4, fontsize=8)
    figure.supxlabel(_caption(record, models, published), fontsize=7, x=0.01, ha='left')
    figure.savefig(out, dpi=150)
    return drawn


def _draw_panel(
    axes: Any,
    models: dict[str, list[Row]],
    metric: str,
    markers: dict[str, str],
    published: Published,
) -> list[str]:
    drawn = []
    for number, (name, rows) in enumerate(models.items()):
        color = f'C{number}'
        # A legend has each model once: that of the first panel.
        label = name if metric == METRICS[0] else None
        accuracy = find_accuracy(name, published)[0].get(metric)
        if accuracy is None:
            least = min(row.median_ms for row in rows)
            axes.axvline(least, color=color, linestyle=':', label=label)
            continue
        drawn.append(name)
        along = [row.median_ms for row in rows]
        axes.plot(along, [accuracy] * len(along), color=color, label=label)
        for row in rows:
            axes.plot(row.median_ms, accuracy, markers[row.runtime], color=color)
    if metric == METRICS[0]:
        for runtime, marker in markers.items():
            axes.plot([], [], marker, color='gray', label=runtime)
    axes.set(
        xscale='log',
        xlabel='median latency from image file to result, ms',
        ylabel=f'{metric} on COCO val2017, % (published)',
    )
    axes.grid(alpha=0.3)
    return drawn


def _caption(
    record: dict[str, Any], models: Sequence[str], published: Published
) -> str:
    sources = {name: find_accuracy(name, published)[1] for name in models}
    without = [name for name, source in sources.items() if not source]
    machine, versions = record['machine'], record['versions']
    sentences = [
        'A TRIAL, not a measurement.' if record['settings']['trial'] else '',
        f'Latency measured on {machine["name"]}, torch {versions["torch"]}.',
        'A dotted line: that accuracy is not published.',
        f'No published accuracy at hand: {", ".join(without)}.' if without else '',
        *(f'{name}: {source}.' for name, source in sources.items() if source),
    ]
    text = ' '.join(sentence for sentence in sentences if sentence)
    return '\n'.join(textwrap.wrap(text, 170))
