"""Model cards: what each recipe costs and reaches, for the model index and the pages.

Costs are counted on the models that the configs build, figures are read from files
that name their sources; so nothing in a card is typed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from mmengine.registry import MODELS, DefaultScope

from dev.model_zoo.figures import (
    BENCHMARKS,
    Benchmark,
    Family,
    Metric,
    Published,
    PublishedRun,
    Result,
    find_benchmark,
    read_published,
    read_results,
)
from dev.model_zoo.markdown import make_table, place_in_page
from mmrapidnet.apis.complexity import count_macs, count_parameters
from mmrapidnet.config.load import load_config
from mmrapidnet.utils.errors import UserError

METAFILE = 'configs/metafile.yml'
MODEL_INDEX = 'model-index.yml'
README = 'README.md'
MODEL_ZOO = 'docs/model_zoo.md'
PUBLISHED = 'configs/published.yml'
RESULTS = 'results.yml'
IMAGE_SIZE = (224, 224)

_BEGIN = '<!-- models: made by python -m dev.model_cards -->'
_END = '<!-- end of models -->'
_MADE_BY = (
    '# Made by dev/model_cards.py from the built models, configs/published.yml and\n'
    '# results.yml: change those.\n'
)
_UNITS = (
    '# FLOPs are multiply-accumulates, as the field writes them, of one image of\n'
    '# 224x224 with both classifiers; batch normalisation counts 2 an element.\n'
)


@dataclass(frozen=True)
class Card:
    """What is known of a recipe.

    Attributes:
        name: Name of its config.
        family: Type of its backbone.
        arch: The backbone's arch, empty if it has none.
        benchmark: The data set it is for.
        channels: Channels of the four stages; empty for other families' backbones.
        blocks: Blocks of the four stages, as text.
        parameters: Parameters of the whole model.
        backbone_parameters: Parameters of the backbone.
        macs: Multiply-accumulates of a classifier; None for other models, whose cost
            depends on what they find.
        published: What is published of it.
        measured: What was measured here, on the whole validation set.
    """

    name: str
    family: str
    arch: str
    benchmark: Benchmark
    channels: tuple[int, ...]
    blocks: tuple[str, ...]
    parameters: int
    backbone_parameters: int
    macs: int | None
    published: tuple[PublishedRun, ...]
    measured: tuple[Result, ...]

    @property
    def config(self) -> str:
        """The config's path below the repository."""
        return f'configs/{self.name}.py'


def write_cards(root: Path) -> list[Path]:
    """Write the model index, the metafile, and the tables of README and model zoo.

    Args:
        root: The repository.

    Returns:
        The files that changed.

    Raises:
        UserError: As `generate`.
    """
    changed = []
    for path, text in generate(root).items():
        if _read(path) != text:
            path.write_text(text, encoding='utf-8')
            changed.append(path)
    return changed


def check_cards(root: Path) -> None:
    """Raise unless every generated file is what `write_cards` would write.

    Args:
        root: The repository.

    Raises:
        UserError: Naming the files that are not.
    """
    stale = [path.name for path, text in generate(root).items() if _read(path) != text]
    if stale:
        raise UserError(
            f'{", ".join(stale)} not as generated from models, configs and figures: '
            'run python -m dev.model_cards'
        )


def generate(root: Path) -> dict[Path, str]:
    """Make the content of every file that tells of the models.

    Args:
        root: The repository.

    Returns:
        Path to content.

    Raises:
        UserError: If a file of figures is wrong, names a model without a config, or
            a page has no place for its tables.
    """
    published = read_published(root / PUBLISHED)
    results = read_results(root / RESULTS)
    cards = make_cards(root / 'configs', published, results)
    tables = {
        root / README: write_overview(cards),
        root / MODEL_ZOO: write_tables(cards, published.families),
    }
    return {
        root / METAFILE: write_metafile(cards, published.families),
        root / MODEL_INDEX: _MADE_BY + _to_yaml({'Import': [METAFILE]}),
        **{page: place_in_page(t, page, _BEGIN, _END) for page, t in tables.items()},
    }


def make_cards(
    configs: Path, published: Published, results: Sequence[Result]
) -> list[Card]:
    """Build the model of every recipe and collect what is known of it.

    Args:
        configs: The folder of the configs; those for Shapes or own data are no cards.
        published: What is published.
        results: What was measured.

    Returns:
        The cards by data set, family and size.

    Raises:
        UserError: If figures are of a model that has no config, or a backbone is of
            a family that is not described.
    """
    names = [path.stem for path in configs.glob('*.py') if find_benchmark(path.stem)]
    unknown = {*published.models, *(result.model for result in results)} - {*names}
    if unknown:
        raise UserError(
            f'figures of {", ".join(sorted(unknown))}, but {configs} has no such '
            f'config: mend {PUBLISHED} or {RESULTS}'
        )
    cards = [_make_card(configs, name, published, results) for name in sorted(names)]
    benchmarks, families = list(BENCHMARKS.values()), list(published.families)
    return sorted(
        cards,
        key=lambda card: (
            benchmarks.index(card.benchmark),
            families.index(card.family),
            card.backbone_parameters,
        ),
    )


def write_metafile(cards: Sequence[Card], families: dict[str, Family]) -> str:
    """Write the cards in OpenMMLab's layout of a metafile.

    Args:
        cards: The cards.
        families: What their families are.

    Returns:
        The content of the file.
    """
    used = {card.family for card in cards}
    content = {
        'Collections': [
            _describe_family(kind, family)
            for kind, family in families.items()
            if kind in used
        ],
        'Models': [_describe_model(card) for card in cards],
    }
    return _MADE_BY + _UNITS + _to_yaml(content)


def write_overview(cards: Sequence[Card]) -> str:
    """Write the README's table: one row per backbone, its models side by side.

    Args:
        cards: The cards.

    Returns:
        The table. Of several published figures of a model it gives the highest.
    """
    backbones: dict[tuple[str, str], dict[str, Card]] = {}
    for card in cards:
        own = backbones.setdefault((card.family, card.arch), {})
        own[card.benchmark.title] = card
    heads = ['type', 'arch', 'params M', 'GMACs']
    for benchmark in BENCHMARKS.values():
        metrics = ' / '.join(metric.name for metric in benchmark.metrics)
        heads.append(f'{benchmark.title}: {metrics}')
    rows = []
    for (family, arch), own in backbones.items():
        parameters = next(iter(own.values())).backbone_parameters
        row = [f'`{family}`', f'`{arch}`' if arch else '', _millions(parameters)]
        row.append(next((_billions(c.macs) for c in own.values() if c.macs), ''))
        titles = [benchmark.title for benchmark in BENCHMARKS.values()]
        row += [_best(own[title]) if title in own else '' for title in titles]
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
            parts += ['Runs and files:', _write_runs(group, sources)]
    listed = [f'- [{i}] {source}' for i, source in enumerate(sources, start=1)]
    parts += ['## Sources of the published figures', '\n'.join(listed)]
    return '\n\n'.join(parts)


def _make_card(
    configs: Path, name: str, published: Published, results: Sequence[Result]
) -> Card:
    cfg = load_config(str(configs / f'{name}.py'))
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        model = MODELS.build(cfg.model)
    family = type(model.backbone).__name__
    if family not in published.families:
        raise UserError(
            f'{name} has a {family}, which {PUBLISHED} does not describe under families'
        )
    benchmark = find_benchmark(name)
    arch = cfg.model.backbone.get('arch', '')
    settings = model.backbone.arch_settings[arch] if arch else {}
    is_classifier = cfg.default_scope == 'mmpretrain'
    return Card(
        name=name,
        family=family,
        arch=arch,
        benchmark=benchmark,
        channels=tuple(settings.get('channels', ())),
        blocks=_describe_blocks(settings),
        parameters=count_parameters(model),
        backbone_parameters=count_parameters(model.backbone),
        macs=count_macs(model, IMAGE_SIZE) if is_classifier else None,
        published=tuple(published.models.get(name, ())),
        measured=tuple(
            result
            for result in results
            if result.model == name and result.images == benchmark.images
        ),
    )


def _describe_blocks(settings: dict[str, Sequence[int]]) -> tuple[str, ...]:
    """Blocks of each stage; where there are two kinds, 'local+global'."""
    kinds = [values for key, values in settings.items() if key.endswith('blocks')]
    return tuple(
        '+'.join(str(number) for number in stage if number) for stage in zip(*kinds)
    )


def _describe_family(kind: str, family: Family) -> dict[str, Any]:
    return {
        'Name': kind,
        'README': f'../{README}',
        'License': 'Apache-2.0',
        'Metadata': {'Architecture': family.architecture},
        'Paper': {'Title': family.title, 'URL': family.paper},
        'Code': {'URL': family.code},
    }


def _describe_model(card: Card) -> dict[str, Any]:
    metadata = {
        'Training Data': card.benchmark.title,
        'Parameters': card.parameters,
    }
    if card.macs is not None:
        metadata['FLOPs'] = card.macs
    latency = [
        {'value': value, 'hardware': device, 'Published': run.source}
        for run in card.published
        for device, value in run.latency.items()
    ]
    if latency:
        metadata['inference time (ms/im)'] = latency
    model = {
        'Name': card.name,
        'In Collection': card.family,
        'Config': card.config,
        'Metadata': metadata,
    }
    results = [
        entry for metric in card.benchmark.metrics for entry in _results(card, metric)
    ]
    if results:
        model['Results'] = results
    return model


def _results(card: Card, metric: Metric) -> Iterator[dict[str, Any]]:
    """One entry a figure.

    The name of the metric carries the mark, because readers of model indices drop
    what they do not know.
    """
    head = {'Task': metric.task, 'Dataset': card.benchmark.title}
    for run in card.published:
        if metric.name in run.figures:
            figure = {f'{metric.name} (published)': run.figures[metric.name]}
            source = {'source': run.source, 'setting': run.setting, 'file': run.file}
            yield {**head, 'Metrics': figure, 'Published': _given(source)}
    for result in card.measured:
        figure = {f'{metric.name} (measured)': result.figures[metric.name]}
        source = {
            'machine': result.machine,
            'date': result.date,
            'setting': result.setting,
            'file': result.checkpoint,
            'sha256': result.sha256,
        }
        yield {**head, 'Metrics': figure, 'Measured': _given(source)}


def _given(entry: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in entry.items() if value is not None}


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
    if cards[0].macs is not None:
        heads = ['model', 'channels', 'blocks per stage', 'params M', 'backbone alone']
        heads.append('GMACs')
    else:
        heads = ['model', 'params M', 'backbone alone']
    for metric in benchmark.metrics:
        heads += [f'{metric.name}, published', f'{metric.name}, measured here']
    rows = []
    for card in cards:
        row = [f'[`{card.name}`](../{card.config})']
        if card.macs is not None:
            row += [' '.join(map(str, card.channels)), ' '.join(card.blocks)]
        row += [_millions(card.parameters), _millions(card.backbone_parameters)]
        if card.macs is not None:
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


def _to_yaml(content: Any) -> str:
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=88)


def _read(path: Path) -> str:
    return path.read_text(encoding='utf-8') if path.is_file() else ''
