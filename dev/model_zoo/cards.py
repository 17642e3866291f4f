"""What each recipe costs and reaches: nothing in a card is typed.

Costs are counted on the models that the configs build, figures are read from files
that name their sources.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope

from dev.model_zoo.figures import (
    BENCHMARKS,
    Benchmark,
    Published,
    PublishedRun,
    Result,
    find_benchmark,
)
from mmrapidnet.apis.complexity import count_macs, count_parameters
from mmrapidnet.config.load import load_config
from mmrapidnet.utils.errors import UserError

PUBLISHED = 'configs/published.yml'
RESULTS = 'results.yml'


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
        macs: Multiply-accumulates for an image of the benchmark's size; None if it has
            none.
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
            f'config: correct {PUBLISHED} or {RESULTS}'
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


def _make_card(
    configs: Path, name: str, published: Published, results: Sequence[Result]
) -> Card:
    cfg = load_config(str(configs / f'{name}.py'))
    benchmark = find_benchmark(name)
    # Parameters are counted without their values; operations by running the model.
    device = torch.device('cpu' if benchmark.image_size else 'meta')
    with DefaultScope.overwrite_default_scope(cfg.default_scope), device:
        model = MODELS.build(cfg.model)
    family = type(model.backbone).__name__
    if family not in published.families:
        raise UserError(
            f'{name} has a {family}, which {PUBLISHED} does not describe under families'
        )
    arch = get_backbone(cfg).get('arch', '')
    settings = model.backbone.arch_settings[arch] if arch else {}
    return Card(
        name=name,
        family=family,
        arch=arch,
        benchmark=benchmark,
        channels=tuple(settings.get('channels', ())),
        blocks=_describe_blocks(settings),
        parameters=count_parameters(model),
        backbone_parameters=count_parameters(model.backbone),
        macs=count_macs(model, benchmark.image_size) if benchmark.image_size else None,
        published=tuple(published.models.get(name, ())),
        measured=tuple(
            result
            for result in results
            if result.model == name and result.images == benchmark.images
        ),
    )


def get_backbone(cfg: Config) -> dict[str, Any]:
    """Get the config of a model's backbone, or of the one of its segmenter.

    Args:
        cfg: The config of a recipe.

    Returns:
        The part of the config.
    """
    return cfg.model.get('segmenter', cfg.model).backbone


def _describe_blocks(settings: dict[str, Sequence[int]]) -> tuple[str, ...]:
    """Blocks of each stage; where there are two kinds, 'local+global'."""
    kinds = [values for key, values in settings.items() if key.endswith('blocks')]
    return tuple(
        '+'.join(str(number) for number in stage if number) for stage in zip(*kinds)
    )
