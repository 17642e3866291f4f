"""Accuracy against latency and against multiply-accumulates.

In the manner of Figures 1 and 4 of RapidNet's paper (arXiv 2412.10995): accuracies
are published ones, latencies measured here.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dev.benchmark.rounds import Row
from dev.model_zoo.figures import Published, PublishedRun
from mmrapidnet.utils.errors import UserError

_TOP1 = 'Top 1 Accuracy'


@dataclass(frozen=True)
class Point:
    """A model in the figure.

    Attributes:
        family: What has one colour, such as 'RapidNet'.
        label: What tells it from its family, such as 'Ti'.
        top1: Its published accuracy on ImageNet-1k in percent.
        source: Where that stands.
        latency_ms: Median of its measured latency.
        gmacs: Billions of multiply-accumulates for an image; None if not counted.
    """

    family: str
    label: str
    top1: float
    source: str
    latency_ms: float
    gmacs: float | None


def draw(
    record: dict[str, Any],
    published: Published,
    out: str | Path,
    runtime: str | None = None,
    size: int = 224,
) -> list[Point]:
    """Draw accuracy against latency, and beside it against multiply-accumulates.

    Args:
        record: As `report.read_json` gives it.
        published: The accuracies.
        out: The picture to write.
        runtime: Whose latencies. Defaults to None: the one in which most models with
            a published accuracy were measured in turns. Others are left out, since
            the machine may have been slower or faster then.
        size: Edge of the images in pixels. Defaults to 224.

    Returns:
        What was drawn.

    Raises:
        UserError: If no model with a published accuracy was measured so, or the
            picture's suffix is of no kind of picture.
    """
    from matplotlib.figure import Figure

    rows = [
        row
        for row in record['rows']
        if row.task == 'classifier' and row.batch == 1 and row.size == (size, size)
    ]
    rows = [row for row in rows if runtime in (None, row.runtime)]
    rows = _largest_comparison(rows, published)
    runtime = rows[0].runtime if rows else runtime
    known = [row for row in rows if find_accuracy(row.model, published)]
    points = [make_point(row, published) for row in known]
    if not points:
        raise UserError(
            f'nothing to draw: no classifier with a published accuracy was measured '
            f'in {runtime or "any runtime"} at {size}x{size}, batch 1'
        )
    without = [row.model for row in rows if row not in known]
    figure = Figure(figsize=(10, 5.6), layout='constrained')
    kinds = figure.canvas.get_supported_filetypes()
    if Path(out).suffix.removeprefix('.') not in kinds:
        raise UserError(f'--out {out}: call the picture *.png, *.svg or *.pdf')
    left, right = figure.subplots(1, 2, sharey=True)
    _draw_panel(left, points, 'latency_ms')
    _draw_panel(right, points, 'gmacs')
    left.set(
        xlabel=f'median latency, ms ({runtime}, {size}x{size}, batch 1)',
        ylabel='top-1 accuracy on ImageNet-1k, % (published)',
    )
    right.set_xlabel('multiply-accumulates, billions')
    left.legend(loc='best')
    caption = _caption(points, without, record)
    figure.supxlabel(caption, fontsize=7, x=0.01, ha='left')
    figure.savefig(out, dpi=150)
    return points


def find_accuracy(model: str, published: Published) -> PublishedRun | None:
    """Find a published accuracy of a model.

    Args:
        model: Its name, such as 'rapidnet_ti' or 'timm:repvit_m0_9'.
        published: The accuracies.

    Returns:
        The first run with one; None if there is none.
    """
    runs = published.models.get(f'{_strip_library(model)}_in1k', [])
    peers = [published.peers[model]] if model in published.peers else []
    return next((run for run in (*runs, *peers) if _TOP1 in run.figures), None)


def make_point(row: Row, published: Published) -> Point:
    """Put what was measured of a model and its published accuracy together.

    Args:
        row: What was measured.
        published: The accuracies, its own among them.

    Returns:
        The point.
    """
    run = find_accuracy(row.model, published)
    family, label = _name(row.model, published)
    setting = f', {run.setting}' if run.setting else ''
    return Point(
        family=family,
        label=label,
        top1=run.figures[_TOP1],
        source=f'{run.source}{setting}',
        latency_ms=row.median_ms,
        gmacs=None if row.macs is None else row.macs / 1e9,
    )


def make_label(variant: str) -> str:
    """Write the variant of a model as its paper does.

    Examples:
        >>> make_label('ti'), make_label('m0_9'), make_label('x1_4')
        ('Ti', 'M0.9', 'x1.4')
    """
    label = variant.replace('_', '.')
    return label if label.startswith('x') else label.capitalize()


def _name(model: str, published: Published) -> tuple[str, str]:
    """Family and label of a model."""
    if model in published.peers:
        peer = published.peers[model]
        return peer.family, peer.label
    family, _, variant = _strip_library(model).partition('_')
    titles = {kind.lower(): kind for kind in published.families}
    return titles.get(family, family), make_label(variant)


def _strip_library(model: str) -> str:
    return model.rpartition(':')[2]


def _largest_comparison(rows: Sequence[Row], published: Published) -> list[Row]:
    """The rows of one runtime that were measured in turns, with the most to draw."""
    comparisons: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        comparisons.setdefault((row.section, row.runtime), []).append(row)
    return max(
        comparisons.values(),
        key=lambda own: sum(bool(find_accuracy(r.model, published)) for r in own),
        default=[],
    )


def _draw_panel(axes: Any, points: Sequence[Point], key: str) -> None:
    families = sorted({point.family for point in points})
    for number, family in enumerate(families):
        own = [p for p in points if p.family == family and getattr(p, key) is not None]
        own.sort(key=lambda point: getattr(point, key))
        along = [getattr(point, key) for point in own]
        axes.plot(
            along, [p.top1 for p in own], marker='o', color=f'C{number}', label=family
        )
        for x, point in zip(along, own):
            axes.annotate(
                point.label,
                (x, point.top1),
                xytext=(5, -10),
                textcoords='offset points',
                fontsize=8,
                color=f'C{number}',
            )
    # Room for the last label.
    axes.margins(x=0.1)
    axes.grid(alpha=0.3)


def _caption(
    points: Sequence[Point], without: Sequence[str], record: dict[str, Any]
) -> str:
    by_source: dict[str, list[str]] = {}
    for point in points:
        name = f'{point.family} {point.label}'
        by_source.setdefault(point.source, []).append(name)
    machine, versions = record['machine'], record['versions']
    sentences = [
        'A TRIAL, not a measurement.' if record['settings']['trial'] else '',
        f'Latency measured on {machine["name"]}, torch {versions["torch"]}.',
        'Accuracy: '
        + '; '.join(f'{", ".join(own)}: {source}' for source, own in by_source.items())
        + '.',
        f'No published accuracy at hand: {", ".join(without)}.' if without else '',
    ]
    text = ' '.join(sentence for sentence in sentences if sentence)
    return '\n'.join(textwrap.wrap(text, 170))
