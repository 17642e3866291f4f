"""Hold what was loaded from a checkpoint to be data, all the way down.

A file that calls allowed names alone can still bring objects that are not data: a
function in the place of a method (``OrderedDict`` and tensors take attributes from a
file), hooks on a tensor, a tensor that claims a terabyte over four bytes or has no
memory at all.  Whoever uses these later would call what the file chose, or fail far
from here.  So every object is visited once, and all but numbers, text, plain containers
of them, arrays, and dense tensors of memory that is there are refused.
"""

import argparse
import pickle
from collections import Counter, OrderedDict
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from mmengine.logging import HistoryBuffer

from mmrapidnet.checkpoints.safe_load.allowed_globals import Array

# Below what copying and comparing can follow, above what any library writes.
MOST_LEVELS = 100
# Tensors that repeat their memory (`expand`) may be larger than their file.
EXPANDED_BYTES = 1 << 26

_ATOMS = (
    type(None),
    bool,
    int,
    float,
    complex,
    str,
    bytes,
    bytearray,
    torch.dtype,
    torch.device,
    torch.Size,
    torch.layout,
    torch.memory_format,
    np.ndarray,
    Array,
)
_MAPPINGS = (dict, OrderedDict, Counter)
_SEQUENCES = (list, tuple, set)
_TENSORS = (torch.Tensor, torch.nn.Parameter)


def check(content: Any, file_bytes: int, meta: bool = False) -> None:
    """Raise unless something is data.

    Args:
        content: What a checkpoint holds.
        file_bytes: Length of the file.
        meta: Whether its tensors were asked for on the ``meta`` device, where none
            has memory. Default: False.

    Raises:
        pickle.UnpicklingError: If there is something else in it, at any depth.

    Examples:
        >>> check({'state_dict': {'a': torch.ones(2)}}, 100)
        >>> check({'state_dict': {'a': print}}, 100)
        Traceback (most recent call last):
            ...
        _pickle.UnpicklingError: GLOBAL builtins.builtin_function_or_method is no data
    """
    seen: set[int] = set()
    waiting = [(content, 0)]
    while waiting:
        item, level = waiting.pop()
        if type(item) in _ATOMS or id(item) in seen:
            continue
        seen.add(id(item))
        if level > MOST_LEVELS:
            raise pickle.UnpicklingError('it is nested too deeply')
        if type(item) in _TENSORS:
            _check_tensor(item, file_bytes, meta)
        waiting += [(part, level + 1) for part in _parts(item)]


def _parts(item: Any) -> Iterator[Any]:
    """What an object consists of, its attributes included."""
    kind = type(item)
    if kind in _MAPPINGS:
        yield from dict.keys(item)
        yield from dict.values(item)
    elif kind in _SEQUENCES:
        yield from kind.__iter__(item)
    elif not (
        kind in _TENSORS
        or kind in (argparse.Namespace, HistoryBuffer)
        or (isinstance(item, np.generic) and item.dtype.kind in 'biufcSU')
    ):
        raise pickle.UnpicklingError(
            f'GLOBAL {kind.__module__}.{kind.__qualname__} is no data'
        )
    attributes = getattr(item, '__dict__', {})
    for name, value in attributes.items():
        # What a class has itself would be shadowed, methods among it.
        if not isinstance(name, str) or hasattr(kind, name):
            raise pickle.UnpicklingError(f'GLOBAL {kind.__name__}.{name} is replaced')
        if name == '_metadata':
            _check_metadata(value)
        yield value


def _check_tensor(tensor: torch.Tensor, file_bytes: int, meta: bool) -> None:
    if (
        tensor.layout is not torch.strided
        or tensor.is_quantized
        or (tensor.is_meta and not meta)
    ):
        raise pickle.UnpicklingError('a tensor is sparse, quantised or without data')
    if tensor.numel() * tensor.element_size() > max(file_bytes, EXPANDED_BYTES):
        raise pickle.UnpicklingError('a tensor is larger than the file')
    if tensor._backward_hooks:
        raise pickle.UnpicklingError('GLOBAL torch.Tensor._backward_hooks are no data')


def _check_metadata(versions: Any) -> None:
    """What PyTorch attaches to a state dict: the version of each module's names."""
    if not (
        type(versions) in _MAPPINGS
        and all(type(own) in _MAPPINGS for own in dict.values(versions))
        and all(
            type(own.get('version')) in (int, type(None))
            for own in dict.values(versions)
        )
    ):
        raise pickle.UnpicklingError('the versions of its modules are damaged')
