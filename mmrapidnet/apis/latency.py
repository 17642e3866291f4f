"""Latency of several calls, measured in turns so that drift hits all alike.

A machine slows down and speeds up over minutes.  One round times every call
once; what counts is how they compare within the rounds.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch

from mmrapidnet.deploy.isolated import IsolatedSession

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


@dataclass(frozen=True)
class IsolatedCall:
    """A call of an exported file in a process of its own, which times it.

    What passes between the processes is not timed.

    Attributes:
        session: The file.
        image: What it is run on.
    """

    session: IsolatedSession
    image: np.ndarray

    def __call__(self) -> dict[str, np.ndarray]:
        """Run the file."""
        return self.session(self.image)

    def warm_up(self, times: int) -> bool:
        """Call some times; returns whether the last was short enough for a lead."""
        return self.session.do(_warm_up_file, self.image, times)

    def time(self, lead: bool) -> float:
        """Call once; returns the seconds it took, once the process is at rest."""
        return self.session.do(_time_file, self.image, lead)


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
    calls: Mapping[str, Call | IsolatedCall],
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
    timed = {
        name: call if isinstance(call, IsolatedCall) else _Here(call, clock)
        for name, call in calls.items()
    }
    leads = {name: call.warm_up(warm_up) for name, call in timed.items()}
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    unsettled = 0
    for _ in range(rounds):
        for name, call in timed.items():
            unsettled += not settle()
            seconds[name].append(call.time(leads[name]))
    timings = {name: Timing(tuple(values)) for name, values in seconds.items()}
    return Measurement(timings, unsettled)


def wait_for(device: str) -> None:
    """Wait for what a GPU still computes; a CPU's calls return when they are done."""
    if device != 'cpu':
        torch.cuda.synchronize(device)


@dataclass(frozen=True)
class _Here:
    """A call of this process, as an `IsolatedCall` is one of another."""

    call: Call
    clock: Callable[[], float]

    def warm_up(self, times: int) -> bool:
        """Call some times; returns whether the last was short enough for a lead."""
        took = 0.0
        for _ in range(times):
            took = self.time(lead=False)
        return took <= LONG

    def time(self, lead: bool) -> float:
        """Call, after another time with a lead; returns the seconds it took."""
        if lead:
            self.call()
        start = self.clock()
        self.call()
        return self.clock() - start


def _warm_up_file(session: Call, image: np.ndarray, times: int) -> bool:
    return _Here(partial(session, image), time.perf_counter).warm_up(times)


def _time_file(session: Call, image: np.ndarray, lead: bool) -> float:
    took = _Here(partial(session, image), time.perf_counter).time(lead)
    settle_down()  # the next turn is another process's
    return took
