"""Cards as tables in Markdown: of the README, and of the model zoo."""

from __future__ import annotations

from collections.abc import Sequence

from dev.model_zoo.cards import Card
from dev.model_zoo.figures import (
    BENCHMARKS,
    Benchmark,
    Family,
    Metric,
    PublishedRun,
)
from dev.model_zoo.markdown import make_table


def write_overview(cards: Sequence[Card]) -> str:
    """Write the README's table: one row per backbone, its models side by side.

    Args:
        cards: The cards.

    Returns:
        The table. Of several published figures of a model it gives the highest.
    """
    backbones: dict[tuple[str, str], dict[Benchmark, Card]] = {}
    for card in cards:
        own = backbones.setdefault((card.family, card.arch), {})
        own[card.benchmark] = card
    heads = ['type', 'arch', 'params M', 'GMACs']
    compared = [b for b in BENCHMARKS.values() if b.compares_backbones]
    for benchmark in compared:
        metrics = ' / '.join(metric.name for metric in benchmark.metrics)
        heads.append(f'{benchmark.label}: {metrics}')
    rows = []
    for (family, arch), own in backbones.items():
        parameters = next(iter(own.values())).backbone_parameters
        row = [f'`{family}`', f'`{arch}`' if arch else '', _millions(parameters)]
        classifiers = (c for b, c in own.items() if b is BENCHMARKS['in1k'])
        row.append(next((_billions(c.macs) for c in classifiers), ''))
        row += [_best(own[b]) if b in own else '' for b in compared]
        rows.append(row)
    return make_table(heads, rows)


def write_tables(cards: Sequence[Card], families: dict[str, Family]) -> str:
    """Write all that the cards know as tables in Markdown.

    Args:
        cards: The cards.
        families: What their families are.

    Returns:
        A table of the families, two per data set (its models, and their runs), and
        the sources of what is published.
    """
    runs = [run for card in cards for run in card.published]
    sources = list(dict.fromkeys(run.source for run in runs if run.source))
    parts = ['## Families', _write_families(cards, families)]
    for benchmark in BENCHMARKS.values():
        group = [card for card in cards if card.benchmark is benchmark]
        if group:
            parts += [f'## {benchmark.task}', _write_table(group, sources)]
            if any(card.published or card.measured for card in group):
                parts += ['Runs and files:', _write_runs(group, sources)]
    listed = [f'- [{i}] {source}' for i, source in enumerate(sources, start=1)]
    parts += ['## Sources of the published figures', '\n'.join(listed)]
    return '\n\n'.join(parts)


def _write_families(cards: Sequence[Card], families: dict[str, Family]) -> str:
    used = {card.family for card in cards}
    rows = [
        [
            f'`{kind}`',
            f'[{family.title}]({family.paper})',
            f'[code]({family.code})',
            ', '.join(family.architecture),
        ]
        for kind, family in families.items()
        if kind in used
    ]
    return make_table(['type', 'paper', 'published with', 'made of'], rows)


def _write_table(cards: Sequence[Card], sources: Sequence[str]) -> str:
    benchmark = cards[0].benchmark
    describes_backbones = benchmark is BENCHMARKS['in1k']
    heads = ['model', 'params M', 'backbone alone']
    if describes_backbones:
        heads[1:1] = ['channels', 'blocks per stage']
    if benchmark.image_size:
        heads.append('GMACs at {}x{}'.format(*benchmark.image_size))
    for metric in benchmark.metrics:
        heads += [f'{metric.name}, published', f'{metric.name}, measured here']
    rows = []
    for card in cards:
        row = [f'[`{card.name}`](../{card.config})']
        if describes_backbones:
            row += [' '.join(map(str, card.channels)), ' '.join(card.blocks)]
        row += [_millions(card.parameters), _millions(card.backbone_parameters)]
        if benchmark.image_size:
            row.append(_billions(card.macs))
        for metric in benchmark.metrics:
            row += [_published(card, metric, sources), _measured(card, metric)]
        rows.append(row)
    return make_table(heads, rows)


def _write_runs(cards: Sequence[Card], sources: Sequence[str]) -> str:
    rows = []
    for card in cards:
        for run in card.published:
            latency = [f'{ms} ({device})' for device, ms in run.latency.items()]
            file = run.file or 'listed here'
            rows.append(
                [
                    f'`{card.name}`',
                    run.setting or '',
                    f'published {_reference(run, sources)}'.strip(),
                    ', '.join(latency),
                    f'[{file}]({run.where})' if run.where else '',
                ]
            )
        rows += [
            [
                f'`{card.name}`',
                result.setting or '',
                f'measured on {result.machine}, {result.date}',
                '',
                f'{result.checkpoint}, SHA-256 `{result.sha256}`',
            ]
            for result in card.measured
        ]
    return make_table(['model', 'setting', 'origin', 'ms per image', 'file'], rows)


def _best(card: Card) -> str:
    """The highest published figures, linked to the config."""
    figures = []
    for metric in card.benchmark.metrics:
        runs = [run for run in card.published if metric.name in run.figures]
        if runs:
            figures.append(f'{max(run.figures[metric.name] for run in runs):.1f}')
    return f'[{" / ".join(figures) or "config"}]({card.config})'


def _reference(run: PublishedRun, sources: Sequence[str]) -> str:
    return f'[{sources.index(run.source) + 1}]' if run.source else ''


def _published(card: Card, metric: Metric, sources: Sequence[str]) -> str:
    return ', '.join(
        f'{_figure(run.figures[metric.name], run.setting)} {_reference(run, sources)}'
        for run in card.published
        if metric.name in run.figures
    )


def _measured(card: Card, metric: Metric) -> str:
    return ', '.join(
        f'{_figure(result.figures[metric.name], result.setting)} on {result.machine}'
        for result in card.measured
    )


def _figure(value: float, setting: str | None) -> str:
    return f'{value:.1f}' + (f' ({setting})' if setting else '')


def _millions(number: int) -> str:
    return f'{number / 1e6:.3f}'


def _billions(number: int) -> str:
    return f'{number / 1e9:.3f}'
