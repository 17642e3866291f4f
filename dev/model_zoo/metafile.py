"""Cards in OpenMMLab's layout of a metafile, for the model index."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import yaml

from dev.model_zoo.cards import Card
from dev.model_zoo.figures import Family, Metric

MADE_BY = (
    '# Made by dev/model_cards.py from the built models, configs/published.yml and\n'
    '# results.yml: change those.\n'
)
_UNITS = (
    '# FLOPs are multiply-accumulates, as the field writes them, of one image: of\n'
    '# 224x224 with both classifiers, of 640x640 for RTMDet-Ins, of 512x512 for the\n'
    '# light Semantic FPN; batch normalisation counts 2 an element.\n'
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
    return MADE_BY + _UNITS + to_yaml(content)


def to_yaml(content: Any) -> str:
    """Write YAML in the order of its keys."""
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=88)


def _describe_family(kind: str, family: Family) -> dict[str, Any]:
    return {
        'Name': kind,
        'README': '../README.md',
        'License': 'Apache-2.0',
        'Metadata': {'Architecture': family.architecture},
        'Paper': {'Title': family.title, 'URL': family.paper},
        'Code': {'URL': family.code},
    }


def _describe_model(card: Card) -> dict[str, Any]:
    metadata = {}
    if not card.benchmark.zero_shot:
        metadata['Training Data'] = card.benchmark.title
    metadata['Parameters'] = card.parameters
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
