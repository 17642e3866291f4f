"""What a checkpoint may hold besides tensors and plain Python data.

mmengine's own checkpoints hold ``HistoryBuffer`` objects, which drag
``builtins.getattr`` along (it names their statistics methods), and NumPy arrays
and scalars; those of published training scripts hold an ``argparse.Namespace``.
Several of these are not harmless in hostile hands: ``getattr`` reaches any
attribute, ``numpy.dtype`` accepts a state that makes NumPy take plain bytes for
object pointers, and a buffer's state is merged into its class.  So each name
is answered by a stand-in that builds the ordinary object, and only that.
"""

import argparse
import math
import pickle
import re
from typing import Any

import numpy as np
from mmengine.logging import HistoryBuffer

STATISTICS = ('min', 'max', 'current', 'mean')


def allowed_globals() -> dict[str, Any]:
    """What stands for each name that mmengine's checkpoints refer to.

    ``numpy.core`` is NumPy 1's name for what NumPy 2 calls ``numpy._core``.

    Returns:
        The stand-ins by the dotted name found in a checkpoint.
    """
    table = {
        'argparse.Namespace': argparse.Namespace,
        'builtins.bytes': no_bytes,
        'builtins.getattr': statistics_method,
        'mmengine.logging.history_buffer.HistoryBuffer': Buffer,
        'numpy.dtype': DType,
        'numpy.ndarray': Array,
    }
    for core in ('numpy.core', 'numpy._core'):
        table[f'{core}.multiarray._reconstruct'] = empty_array
        table[f'{core}.multiarray.scalar'] = scalar
    return table


def no_bytes() -> bytes:
    """The data of an empty array, which protocol 2 writes as ``bytes()``."""
    return b''


def statistics_method(owner: Any, name: str) -> Any:
    """``getattr`` that knows nothing but ``HistoryBuffer``'s statistics."""
    if owner is Buffer and name in STATISTICS:
        return getattr(HistoryBuffer, name)
    raise pickle.UnpicklingError('GLOBAL builtins.getattr is misused')


class Buffer(HistoryBuffer):
    """A ``HistoryBuffer`` being loaded: it becomes a plain one once checked."""

    def __setstate__(self, state: dict) -> None:
        logs, counts = state['_log_history'], state['_count_history']
        max_length = state['max_length']
        if not (_is_numbers(logs) and _is_numbers(counts) and logs.size == counts.size):
            raise pickle.UnpicklingError('a HistoryBuffer holds other than numbers')
        if type(max_length) is not int:
            raise pickle.UnpicklingError('a HistoryBuffer has no maximum length')
        self.__class__ = HistoryBuffer
        self._set_default_statistics()
        self.max_length = max_length
        self._log_history = logs.view(np.ndarray)
        self._count_history = counts.view(np.ndarray)


class DType:
    """A ``numpy.dtype`` of numbers or text, without its all-accepting state."""

    def __init__(self, spec: str, align: bool = False, copy: bool = True) -> None:
        if not (isinstance(spec, str) and re.fullmatch(r'[biufcSU]\d+', spec)):
            raise pickle.UnpicklingError(
                'GLOBAL numpy.dtype is neither number nor text'
            )
        self.dtype = np.dtype(spec)

    def __setstate__(self, state: tuple) -> None:
        order, composition = state[1], state[2:5]
        if composition != (None, None, None) or order not in ('<', '>', '=', '|'):
            raise pickle.UnpicklingError('GLOBAL numpy.dtype has a composite state')
        self.dtype = self.dtype.newbyteorder(order)


class Array(np.ndarray):
    """A ``numpy.ndarray`` being loaded; it pickles as a plain one."""

    def __new__(cls):
        """Make an empty array, whatever a file asks for."""
        return super().__new__(cls, (0,), np.int8)

    def __setstate__(self, state: tuple) -> None:
        """Take data that is as long as its shape and type say."""
        version, shape, kind, is_fortran, data = state
        if not (isinstance(kind, DType) and isinstance(data, bytes)):
            raise pickle.UnpicklingError(
                'GLOBAL numpy.ndarray holds other than numbers'
            )
        if min(shape, default=0) < 0 or (
            math.prod(shape) * kind.dtype.itemsize != len(data)
        ):
            raise pickle.UnpicklingError('a numpy.ndarray is not as long as it claims')
        super().__setstate__((version, shape, kind.dtype, bool(is_fortran), data))

    def __reduce__(self) -> tuple:
        return self.view(np.ndarray).__reduce__()


def empty_array(owner: Any, shape: tuple, code: bytes) -> Array:
    """``numpy.core.multiarray._reconstruct`` for plain arrays."""
    if owner is not Array:
        raise pickle.UnpicklingError('GLOBAL numpy.ndarray is misused')
    return Array()


def scalar(kind: DType, data: bytes) -> np.generic:
    """``numpy.core.multiarray.scalar`` for numbers and text."""
    if not (isinstance(kind, DType) and isinstance(data, bytes)):
        raise pickle.UnpicklingError('a numpy scalar is neither number nor text')
    return np.frombuffer(data, kind.dtype, count=1)[0]


def _is_numbers(value: Any) -> bool:
    return isinstance(value, Array) and value.ndim == 1 and value.dtype.kind in 'biuf'
