"""The memory of a command and its worker processes, sampled while it runs."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import psutil

from mmrapidnet.errors import UserError
from mmrapidnet.memory.curve import Curve


def watch(
    command: Sequence[str],
    log: Path,
    seconds: float | None = None,
    interval: float = 1.0,
) -> Curve:
    """Run a command and sample what it and its children hold.

    Memory that several processes share is counted once, in parts (the kernel's
    proportional set size), so that the sum is what the machine has to have.

    Args:
        command: The command.
        log: The file for its output.
        seconds: When to stop it. Defaults to None: it ends by itself.
        interval: Seconds between two samples. Defaults to 1.

    Returns:
        The samples.

    Raises:
        UserError: If the command fails, or ends before it is to be stopped.
    """
    start = time.monotonic()
    samples = []
    with (
        log.open('w') as file,
        subprocess.Popen(
            command, stdout=file, stderr=subprocess.STDOUT, start_new_session=True
        ) as process,
    ):
        try:
            while process.poll() is None:
                passed = time.monotonic() - start
                if seconds is not None and passed > seconds:
                    return _to_curve(samples)
                held = _sample(process.pid)
                if held is not None:
                    samples.append((passed, *held))
                time.sleep(interval)
        finally:
            _stop(process)
    if process.returncode or seconds is not None:
        lines = [line for line in log.read_text().splitlines() if line.strip()]
        raise UserError(
            f'{Path(command[1]).name} ended with status {process.returncode}: '
            f'{lines[-1] if lines else "no output"} (see {log})'
        )
    return _to_curve(samples)


def _to_curve(samples: list[tuple[float, int, int]]) -> Curve:
    times, main, workers = map(list, zip(*samples))
    return Curve(times, main, workers)


def _sample(pid: int) -> tuple[int, int] | None:
    """Bytes of a process and of its children; None if it ends meanwhile."""
    try:
        process = psutil.Process(pid)
        children = process.children(recursive=True)
        held = process.memory_full_info().pss
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return None
    return held, sum(map(_held, children))


def _held(process: psutil.Process) -> int:
    try:
        return process.memory_full_info().pss
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return 0


def _stop(process: subprocess.Popen) -> None:
    """End a command with all its children, if they are still there."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    process.wait()
