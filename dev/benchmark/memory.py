"""Peak memory of a call, measured in a process that does nothing else."""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch

_STATUS, _CLEAR = Path('/proc/self/status'), Path('/proc/self/clear_refs')
# What `proc(5)` says resets the peak of the resident set.
_RESET_PEAK = '5'


def measure_peak(
    open_call: Callable[[], Callable[[], Any]], device: str = 'cpu', calls: int = 3
) -> int | None:
    """Measure what opening and calling something takes at its peak.

    Args:
        open_call: Builds or opens the thing and returns the call. It travels to a new
            process, so it must be something that can be pickled.
        device: 'cpu' or 'cuda'. Defaults to 'cpu'.
        calls: How often it is called. Defaults to 3.

    Returns:
        Bytes beyond what the process held before it was opened, weights included and
        the imported libraries not: of a GPU what PyTorch allocated there, otherwise
        of the resident set while it is called; None where the kernel does not say.
    """
    with ProcessPoolExecutor(1, mp_context=get_context('spawn')) as pool:
        return pool.submit(_measure_here, open_call, device, calls).result()


def _measure_here(
    open_call: Callable[[], Callable[[], Any]], device: str, calls: int
) -> int | None:
    from mmrapidnet import compat

    compat.apply()
    if device == 'cpu' and not _CLEAR.exists():
        return None
    # Opened once before, so that what it imports does not count.
    open_call()
    _give_back()
    before = _held(device)
    call = open_call()
    _reset_peak(device)
    for _ in range(calls):
        call()
    return max(0, _peak(device) - before)


def _give_back() -> None:
    """Free what nobody holds, also what the C library keeps for later."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), 'malloc_trim', None)
    if trim is not None:
        trim(0)


def _held(device: str) -> int:
    if device == 'cpu':
        return _read_status('VmRSS')
    return torch.cuda.memory_allocated(device)


def _peak(device: str) -> int:
    if device == 'cpu':
        return _read_status('VmHWM')
    return torch.cuda.max_memory_allocated(device)


def _reset_peak(device: str) -> None:
    _give_back()
    if device == 'cpu':
        _CLEAR.write_text(_RESET_PEAK)
    else:
        torch.cuda.reset_peak_memory_stats(device)


def _read_status(key: str) -> int:
    """A size that ``/proc/self/status`` gives in kB, in bytes."""
    for line in _STATUS.read_text().splitlines():
        if line.startswith(f'{key}:'):
            return int(line.split()[1]) * 1024
    raise KeyError(key)
