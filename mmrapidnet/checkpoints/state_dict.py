"""Pretrained weights, checked tensor by tensor.

Weights that silently are not loaded are the commonest complaint about mobile
backbones; here every tensor of the backbone is filled or it is an error.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mmengine.fileio import get_local_path
from mmengine.logging import print_log
from mmengine.model import is_model_wrapper
from torch import Size, Tensor, nn

from mmrapidnet.checkpoints.convert.detect import refuse_unconverted
from mmrapidnet.checkpoints.fused import refuse_fused
from mmrapidnet.checkpoints.safe_load.load import load
from mmrapidnet.utils.errors import UserError, sanitize

# How the weights of a backbone are called in a file: bare, or inside a model.
_PREFIXES = ('', 'backbone.')
# Of batch normalisation, which uses it only without a momentum.
_COUNTER = 'num_batches_tracked'


def load_pretrained(
    module: nn.Module, checkpoint: str, prefix: str | None = None
) -> list[str]:
    """Fill every tensor of a module from a checkpoint file, and log what was matched.

    Args:
        module: The module to fill, a backbone.
        checkpoint: Path or URL of a file that holds a state dict, bare or under
            ``state_dict``.
        prefix: Prefix of the module's keys in the file. Defaults to None: none
            or ``backbone.``, whichever matches.

    Returns:
        The names of the tensors in the file that were not used.

    Raises:
        UserError: If the file cannot be read as weights, is a published one that
            awaits conversion, is of a fused model, matches nothing, lacks tensors of
            the module or has some in another shape.
    """
    content = read_checkpoint(checkpoint)
    refuse_fused(content, checkpoint)
    source = get_state_dict(content, checkpoint)
    target = module.state_dict()
    prefix = find_prefix(source, target, prefix)
    check_state_dict(source, target, prefix, type(module).__name__, checkpoint)
    module.load_state_dict({name: source[prefix + name] for name in target})
    dropped = sorted(set(source) - {prefix + name for name in target})
    print_log(
        f'{type(module).__name__}: matched {len(target)} of {len(target)} tensors '
        f'with {checkpoint}; dropped {len(dropped)} others of the file'
        + (f': {shorten(dropped)}' if dropped else ''),
        logger='current',
        level=logging.INFO,
    )
    return dropped


def find_prefix(
    source: dict[str, Tensor], target: dict[str, Tensor], prefix: str | None = None
) -> str:
    """Find what precedes a module's names in a file.

    Args:
        source: The file's tensors.
        target: The module's tensors.
        prefix: The prefix, if it is known. Defaults to None.

    Returns:
        The prefix that is given, with a dot at its end, or else the one of none and
        ``backbone.`` that matches more.

    Examples:
        >>> find_prefix({'backbone.a': 0, 'head.a': 0}, {'a': 0})
        'backbone.'
        >>> find_prefix({'backbone.a': 0, 'head.a': 0}, {'a': 0}, 'head')
        'head.'
    """
    if prefix is None:
        return max(_PREFIXES, key=lambda p: sum(p + name in source for name in target))
    return prefix if prefix.endswith('.') or not prefix else prefix + '.'


def read_checkpoint(checkpoint: str) -> dict[str, Any]:
    """Read a checkpoint, without running anything it may hold.

    Args:
        checkpoint: Path or URL.

    Returns:
        Its content.

    Raises:
        UserError: If the file is not there, damaged, or not a checkpoint.
    """
    with get_local_path(checkpoint) as path:
        return load(path)


def get_state_dict(content: dict[str, Any], checkpoint: str) -> dict[str, Tensor]:
    """Find the state dict in the content of a checkpoint.

    Args:
        content: The content of the file.
        checkpoint: The file's name, for the message.

    Returns:
        Name to tensor, without the ``module.`` of data-parallel wrappers.

    Raises:
        UserError: If there is none.
    """
    state = content.get('state_dict', content)
    if not isinstance(state, dict):
        raise UserError(
            f'{checkpoint} holds no weights: its state_dict is a {type(state).__name__}'
        )
    for name in state:
        if not isinstance(name, str):
            raise UserError(
                f'{checkpoint} holds no weights: expected names of tensors, but found '
                f'{sanitize(name)}, of type {type(name).__name__}'
            )
    state = {
        name.removeprefix('module.'): value
        for name, value in state.items()
        if isinstance(value, Tensor)
    }
    if not state:
        refuse_unconverted(content, checkpoint)
        raise UserError(
            f'{checkpoint} holds no weights: expected a state dict, bare or under '
            f"'state_dict', but found {shorten(content) or 'nothing'}"
        )
    return state


def check_fits(model: nn.Module, content: dict[str, Any], checkpoint: str) -> None:
    """Raise unless a checkpoint fills a whole model.

    mmengine loads what fits and only logs what does not.

    Args:
        model: The model, also inside a data-parallel wrapper.
        content: The content of the file.
        checkpoint: The file's name, for the message.

    Raises:
        UserError: Naming the first few tensors that are missing or do not fit.
    """
    model = model.module if is_model_wrapper(model) else model
    state = get_state_dict(content, checkpoint)
    check_state_dict(state, model.state_dict(), '', type(model).__name__, checkpoint)


def check_start(model: nn.Module, content: dict[str, Any], checkpoint: str) -> None:
    """Raise unless a checkpoint that training starts from fills the backbone.

    Heads may be of other classes; mmengine starts them from random weights then.

    Args:
        model: The model, also inside a data-parallel wrapper.
        content: The content of the file.
        checkpoint: The file's name, for the message.

    Raises:
        UserError: As `check_backbone`.
    """
    model = model.module if is_model_wrapper(model) else model
    state = get_state_dict(content, checkpoint)
    try:
        check_backbone(state, model, '', checkpoint)
    except UserError as error:
        backbone = getattr(model, 'backbone', None)
        if backbone is None or not set(backbone.state_dict()) & set(state):
            raise
        raise UserError(
            f'{checkpoint} holds a bare backbone, which load_from does not fill: give '
            'it as --pretrained (model.backbone.init_cfg) instead'
        ) from error


def check_backbone(
    source: dict[str, Tensor], module: nn.Module, prefix: str, checkpoint: str
) -> None:
    """Raise unless a file fills a backbone, or that of a whole model.

    Backbones of the libraries may have layers that no file of pretrained weights has,
    such as a norm of each output or deformable convolutions, and old files lack
    counters of batches: up to half of such a backbone may be missing, which is said.

    Args:
        source: The file's tensors.
        module: The backbone, or a model; one without a backbone is looked at as a
            whole.
        prefix: What precedes the module's names in the file.
        checkpoint: The file's name, for the message.

    Raises:
        UserError: Naming the first few tensors that are missing or do not fit.
    """
    backbone = getattr(module, 'backbone', None)
    if isinstance(backbone, nn.Module):
        prefix, module = f'{prefix}backbone.', backbone
    target = module.state_dict()
    name = type(module).__name__
    if not getattr(module, 'strictly_loaded', False):
        target = {k: v for k, v in target.items() if not k.endswith(_COUNTER)}
        missing = [name for name in target if prefix + name not in source]
        if 0 < 2 * len(missing) < len(target):
            target = {k: v for k, v in target.items() if prefix + k in source}
            print_log(
                f'{checkpoint} lacks {len(missing)} tensors of {name}, which start '
                f'as they are initialised: {shorten(missing)}',
                logger='current',
                level=logging.WARNING,
            )
    check_state_dict(source, target, prefix, name, checkpoint)


def check_state_dict(
    source: dict[str, Tensor],
    target: dict[str, Tensor],
    prefix: str,
    model_name: str,
    checkpoint: str,
) -> None:
    """Raise unless every target tensor stands in the source in the same shape.

    Args:
        source: The file's tensors.
        target: The model's tensors.
        prefix: What precedes the model's names in the file.
        model_name: The model's name, for the message.
        checkpoint: The file's name, for the message.

    Raises:
        UserError: Naming the first few tensors that are missing or do not fit; for a
            published file, how to convert it.
    """
    found = {n: source[prefix + n] for n in target if prefix + n in source}
    if len(found) < len(target):
        refuse_unconverted(source, checkpoint)
    if not found:
        raise UserError(
            f'{checkpoint} matches nothing of {model_name}: it holds '
            f'{shorten(source)}, but {shorten(target)} are needed'
            + (f" under the prefix '{prefix}'" if prefix else '')
        )
    mismatch = compare({name: value.shape for name, value in target.items()}, found)
    if mismatch.total:
        raise UserError(
            f'{checkpoint} does not fit {model_name}; {mismatch}; '
            'is it of the same arch?'
        )


@dataclass(frozen=True)
class Mismatch:
    """What keeps tensors from filling a model, by their names.

    Attributes:
        missing: What the model has and the tensors lack.
        reshaped: What has another shape, with both shapes.
        surplus: What the model has not.
    """

    missing: list[str]
    reshaped: list[str]
    surplus: list[str]

    @property
    def total(self) -> int:
        """The number of names."""
        return len(self.missing) + len(self.reshaped) + len(self.surplus)

    def __str__(self) -> str:
        parts = {
            'missing': self.missing,
            'other shapes': self.reshaped,
            'not accounted for': self.surplus,
        }
        return '; '.join(
            f'{title} {len(names)}: {shorten(names)}'
            for title, names in parts.items()
            if names
        )


def compare(shapes: Mapping[str, Size], tensors: Mapping[str, Tensor]) -> Mismatch:
    """Hold tensors to the names and shapes of a model's.

    Args:
        shapes: What the model needs.
        tensors: What there is.

    Returns:
        How they differ.

    Examples:
        >>> import torch
        >>> shapes = {'a': torch.Size([2]), 'b': torch.Size([3])}
        >>> print(compare(shapes, {'a': torch.ones(1), 'c': torch.ones(1)}))
        missing 1: b; other shapes 1: a (1,) instead of (2,); not accounted for 1: c
    """
    return Mismatch(
        missing=[name for name in shapes if name not in tensors],
        reshaped=[
            f'{name} {tuple(tensors[name].shape)} instead of {tuple(shape)}'
            for name, shape in shapes.items()
            if name in tensors and tensors[name].shape != shape
        ],
        surplus=[name for name in tensors if name not in shapes],
    )


def shorten(names, most: int = 3) -> str:
    """Join the first few names of many.

    Examples:
        >>> shorten(['a', 'b', 'c', 'd'])
        'a, b, c, ...'
    """
    names = list(names)
    return ', '.join(sanitize(name) for name in names[:most]) + (
        ', ...' if len(names) > most else ''
    )
