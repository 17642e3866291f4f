"""Compare two checkpoints bit by bit."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

# What says when and how a run went, which no two runs have in common.
_OF_THE_RUN = ('meta', 'message_hub')


def list_differences(first: dict[str, Any], second: dict[str, Any]) -> list[str]:
    """List what differs between two checkpoints of a run.

    Compared are weights, averages of weights, optimizer and schedules: whatever they
    hold but for ``meta`` and ``message_hub``.

    Args:
        first: The content of a checkpoint.
        second: That of another.

    Returns:
        The dotted names of the values that only one has, or that differ in any bit, in
        type or in shape.

    Examples:
        >>> import torch
        >>> one = dict(state_dict=dict(a=torch.tensor(0.0), b=torch.tensor(1.0)))
        >>> two = dict(state_dict=dict(a=torch.tensor(-0.0), b=torch.tensor(1.0)))
        >>> list_differences(one, two)
        ['state_dict.a']
    """
    left, right = dict(iter_values(first)), dict(iter_values(second))
    return [
        name
        for name in dict.fromkeys([*left, *right])
        if name not in left or name not in right or not _same(left[name], right[name])
    ]


def iter_values(checkpoint: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the dotted names and values of what `list_differences` compares."""
    for key, value in checkpoint.items():
        if key not in _OF_THE_RUN:
            yield from _flatten(key, value)


def _flatten(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _flatten(f'{name}.{key}', item)
    elif isinstance(value, (list, tuple)):
        for number, item in enumerate(value):
            yield from _flatten(f'{name}.{number}', item)
    else:
        yield name, value


def _same(left: Any, right: Any) -> bool:
    if not isinstance(left, torch.Tensor):
        return type(left) is type(right) and left == right
    return (
        isinstance(right, torch.Tensor)
        and left.dtype == right.dtype
        and left.shape == right.shape
        and torch.equal(_bytes(left), _bytes(right))
    )


def _bytes(tensor: torch.Tensor) -> torch.Tensor:
    """The bits, for which 0 is not -0 and NaN is NaN."""
    return tensor.cpu().contiguous().reshape(-1).view(torch.uint8)
