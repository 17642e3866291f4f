"""Latency of several calls, measured in turns so that drift hits all alike.

A machine slows down and speeds up over minutes.  One round times every call
once; what counts is how they compare within the rounds.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

ROUNDS = 30
WARM_UP = 5
# A call longer than this, in seconds, is not preceded by another that is not timed:
# what a cold cache costs is nothing to it.
LONG = 0.5

Call = Callable[[], Any]


@dataclass(frozen=True)
class Timing:
    """What one call took, round by round.

    Attributes:
        seconds: One per round.

    Examples:
        >>> timing = Timing((0.2, 0.1, 0.3))
        >>> timing.median
        0.2
    """

    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        """Half of the calls took less, in seconds."""
        return float(np.percentile(self.seconds, 50))

    @property
    def p10(self) -> float:
        """A tenth of the calls took less, in seconds (interpolated)."""
        return float(np.percentile(self.seconds, 10))

    @property
    def p90(self) -> float:
        """Nine tenths of the calls took less, in seconds (interpolated)."""
        return float(np.percentile(self.seconds, 90))


@dataclass(frozen=True)
class Measurement:
    """What `interleave` measured.

    Attributes:
        timings: By the names of the calls.
        unsettled: Number of turns that began although threads of the process, such
            as another runtime's idle pool, were still computing.
    """

    timings: dict[str, Timing]
    unsettled: int


def settle_down() -> bool:
    """Wait until the threads of this process rest, half a second at most.

    After a call the threads of OpenMP, oneTBB and ONNX Runtime look for more work for
    up to some milliseconds.  To forbid it would slow their own runtime down, so the
    others wait for its end.

    Returns:
        Whether they rest, which is to use less than a tenth of a core.
    """
    end = time.perf_counter() + 0.5
    while time.perf_counter() < end:
        used, start = time.process_time(), time.perf_counter()
        time.sleep(0.01)  # more than a tick of the kernel's account
        used, passed = time.process_time() - used, time.perf_counter() - start
        if used < 0.1 * passed:
            return True
    return False


def interleave(
    calls: Mapping[str, Call],
    rounds: int = ROUNDS,
    warm_up: int = WARM_UP,
    settle: Callable[[], bool] = settle_down,
    clock: Callable[[], float] = time.perf_counter,
) -> Measurement:
    """Time calls in turns: each one once per round, in the given order.

    A turn waits until the process is idle, calls once without timing (caches, clock
    rates and the runtime's own threads are then as in a row of calls) unless the call
    takes longer than half a second, and times the next call.

    Args:
        calls: Name to call; what it starts it must also wait for.
        rounds: Number of rounds. Defaults to 30.
        warm_up: Calls of each before the first round. Defaults to 5.
        settle: Waits until the process is idle and says whether it is. Defaults to
            `settle_down`.
        clock: Seconds. Defaults to the performance counter.

    Returns:
        The timings.
    """
    leads = {name: _warm_up(call, warm_up, clock) for name, call in calls.items()}
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    unsettled = 0
    for _ in range(rounds):
        for name, call in calls.items():
            unsettled += not settle()
            if leads[name]:
                call()
            start = clock()
            call()
            seconds[name].append(clock() - start)
    timings = {name: Timing(tuple(values)) for name, values in seconds.items()}
    return Measurement(timings, unsettled)


def wait_for(device: str) -> None:
    """Wait for what a GPU still computes; a CPU's calls return when they are done."""
    if device != 'cpu':
        torch.cuda.synchronize(device)


def _warm_up(call: Call, times: int, clock: Callable[[], float]) -> bool:
    """Call some times; returns whether the last was short enough to precede others."""
    took = 0.0
    for _ in range(times):
        start = clock()
        call()
        took = clock() - start
    return took <= LONG
