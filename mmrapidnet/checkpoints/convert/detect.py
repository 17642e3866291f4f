"""Tell from its names alone what a published file is."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from mmrapidnet.checkpoints.convert.key_maps import (
    AUTHORS,
    BACKBONE,
    DENSE_MODELS,
    TIMM_REPVIT,
    DenseModel,
    KeyMap,
)
from mmrapidnet.utils.errors import UserError

# How published files call the weights and their moving average.
_ENTRIES = (('state_dict', 'state_dict_ema'), ('model', 'model_ema'))
BARE = 'the file itself'


@dataclass(frozen=True)
class Kind:
    """A kind of published file.

    Attributes:
        key_map: How it calls our tensors.
        dense_model: The dense model it holds; None for a classifier.
    """

    key_map: KeyMap
    dense_model: DenseModel | None = None

    @property
    def prefix(self) -> str:
        """What precedes the backbone's names in the file."""
        return self.dense_model.prefix if self.dense_model else ''

    def published_keys(self, names: Iterable[str]) -> dict[str, str]:
        """The names in the file, of our names; `KeyMap.published_keys` for all kinds.

        Args:
            names: The names of all tensors of a model.

        Returns:
            The published name of each.

        Raises:
            KeyError: If the published network has no such tensor.
        """
        published = self.key_map.published_keys(names, self.prefix)
        if self.dense_model is None:
            return published
        return {
            ours: theirs
            if ours.startswith(BACKBONE)
            else self.dense_model.published_key(ours)
            for ours, theirs in published.items()
        }

    def is_of_backbone(self, name: str) -> bool:
        """Whether a published name is of the backbone (or its classifier)."""
        others = self.dense_model.renamed.values() if self.dense_model else ()
        return name.startswith(self.prefix) and name.rpartition('.')[0] not in others

    def __str__(self) -> str:
        if self.dense_model:
            return f'{self.dense_model.title} checkpoint with {self.key_map.title}'
        return f'{self.key_map.title} classification checkpoint'


def find_kind(names: Iterable[str]) -> Kind | None:
    """Detect what a published file is.

    Args:
        names: The names of its tensors.

    Returns:
        Its kind; None for any other file.

    Examples:
        >>> print(find_kind(['stem.stem.0.weight', 'head.weight']))
        RapidNet classification checkpoint
        >>> print(find_kind(['backbone.stem.stem.0.weight', 'decode_head.conv_seg.b']))
        Semantic FPN (mmseg 0.x) checkpoint with RapidNet
    """
    text = '\n'.join(names)

    def has(start: str) -> bool:
        return re.search(f'^{start}', text, re.MULTILINE) is not None

    for key_map in (*AUTHORS, TIMM_REPVIT):
        if has(key_map.signature):
            return Kind(key_map)
    for key_map in AUTHORS:
        for model in DENSE_MODELS:
            if has(model.prefix + key_map.signature) and has(model.marker):
                return Kind(key_map, model)
    return None


def choose_weights(
    content: dict[str, Any], ema: bool | None, source: str
) -> tuple[str, dict[str, Tensor]]:
    """Find the weights in the content of a published file.

    Args:
        content: The content.
        ema: Whether to take the moving average; None for where there is one.
        source: The file's name, for messages.

    Returns:
        The entry of the file that holds them, and the weights without the
        ``module.`` of data-parallel wrappers.

    Raises:
        UserError: If the file has not what is asked for.
    """
    plain, average = next(filter(any, _find_entries(content)), (BARE, None))
    if ema and average is None:
        raise UserError(
            f'--ema: {source} holds no moving average of its weights '
            f'({" or ".join(name for _, name in _ENTRIES)}): leave the option out'
        )
    if ema is False and plain is None:
        raise UserError(
            f'--no-ema: {source} holds the moving average alone ({average}): '
            'leave the option out'
        )
    entry = average if average and ema is not False else plain
    if entry == BARE:
        weights = {k: v for k, v in content.items() if isinstance(v, Tensor)}
    else:
        weights = content[entry]
    return entry, _clean(weights, entry, source)


def refuse_unconverted(content: dict[str, Any], checkpoint: str) -> None:
    """Raise if a file is a published one that awaits conversion.

    Args:
        content: The content of the file.
        checkpoint: The file's name.

    Raises:
        UserError: With the command that converts it.
    """
    entries = [entry for pair in _find_entries(content) for entry in pair if entry]
    for weights in (content, *(content[entry] for entry in entries)):
        kind = find_kind(str(name).removeprefix('module.') for name in weights)
        if kind:
            converted = f'{Path(checkpoint).stem}_converted.pth'
            command = ('python', 'tools/convert_checkpoint.py', str(checkpoint))
            raise UserError(
                f'{checkpoint} is a {kind}, still in its published names: convert it '
                f'with `{shlex.join((*command, converted))}` and give {converted} '
                'instead'
            )


def _find_entries(content: dict[str, Any]) -> list[tuple[str | None, str | None]]:
    """The known pairs of entries, None for each that the file has not."""
    return [
        tuple(name if isinstance(content.get(name), dict) else None for name in pair)
        for pair in _ENTRIES
    ]


def _clean(weights: dict[Any, Any], entry: str, source: str) -> dict[str, Tensor]:
    for name, value in weights.items():
        if not isinstance(value, Tensor):
            raise UserError(
                f'{source} cannot be converted: {name} in {entry} is no tensor, but of '
                f'type {type(value).__name__}'
            )
    clean = {str(k).removeprefix('module.'): value for k, value in weights.items()}
    if len(clean) < len(weights):
        raise UserError(
            f"{source} cannot be converted: names in {entry} differ in 'module.' alone"
        )
    return clean
