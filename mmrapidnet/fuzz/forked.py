"""A script run in a fork of this process, which has imported the heavy libraries."""

from __future__ import annotations

import multiprocessing
import os
import resource
import runpy
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import torch

_LIBRARIES = ('mmdet.apis', 'mmseg.apis', 'mmpretrain.apis')
# What argparse ends with.
_USAGE = 2
_LOG_MODE = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND
# What a new process would compute with, and so what a fork does.
_THREADS = torch.get_num_threads()


@dataclass(frozen=True)
class Outcome:
    """How a command ended.

    Attributes:
        status: The exit status; negative: the signal that ended it; None: it was
            killed at the time-out.
        output: What it wrote to stdout and stderr together.
        seconds: What it took.
    """

    status: int | None
    output: str
    seconds: float

    @property
    def fault(self) -> str | None:
        """What of the promise it broke; None if it kept it."""
        errors = [s for s in self.output.splitlines() if s.startswith('error: ')]
        if self.status is None:
            return f'not done after {self.seconds:.0f} s'
        if self.status < 0:
            return f'ended by {signal.Signals(-self.status).name}'
        if 'Traceback (most recent call last)' in self.output:
            return f'traceback: {self.output.strip().splitlines()[-1]}'
        if self.status == 0:
            return None if not errors else 'error told, but status 0'
        if self.status == _USAGE and 'usage: ' in self.output:
            return None
        if len(errors) != 1:
            return f'status {self.status} with {len(errors)} lines of error'
        return None


def import_libraries() -> None:
    """Import what takes the tools seconds to import, as far as it is installed."""
    from mmrapidnet import compat

    compat.apply()
    torch.set_num_threads(1)  # threads do not survive a fork, which starts its own
    for name in _LIBRARIES:
        if find_spec(name.partition('.')[0]):
            import_module(name)


def run_forked(
    script: Path, arguments: Sequence[str], folder: Path, timeout: float
) -> Outcome:
    """Run a script as ``python script arguments`` would.

    Args:
        script: The script.
        arguments: Its arguments.
        folder: Where it runs, and where ``output.txt`` is written.
        timeout: Seconds after which it is killed, with its children.

    Returns:
        How it ended.
    """
    log = folder / 'output.txt'
    start = time.monotonic()
    status = fork_script(script, arguments, folder, (log, log), timeout)
    seconds = time.monotonic() - start
    return Outcome(status, log.read_text(errors='replace'), seconds)


def fork_script(
    script: Path,
    arguments: Sequence[str],
    folder: Path,
    logs: tuple[Path, Path],
    timeout: float,
) -> int | None:
    """Run a script in a fork, its output in files.

    Args:
        script: The script.
        arguments: Its arguments.
        folder: Where it runs.
        logs: What it writes to stdout and to stderr goes there; may be the same.
        timeout: Seconds after which it is killed, with its children.

    Returns:
        The exit status; negative: the signal that ended it; None: it was killed at
        the time-out.
    """
    # Not os.fork: its children end as Python does, and their data workers with them.
    context = multiprocessing.get_context('fork')
    child = context.Process(target=_become, args=(script, arguments, folder, logs))
    child.start()
    child.join(timeout)
    if child.exitcode is None:
        os.killpg(child.pid, signal.SIGKILL)
        child.join()
        return None
    return child.exitcode


def _become(
    script: Path, arguments: Sequence[str], folder: Path, logs: tuple[Path, Path]
) -> None:
    """Run the script, in the child."""
    os.setsid()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for target, log in enumerate(logs, 1):
        os.dup2(os.open(log, _LOG_MODE), target)
    sys.stdout = os.fdopen(1, 'w', buffering=1, closefd=False)
    sys.stderr = os.fdopen(2, 'w', buffering=1, closefd=False)
    os.chdir(folder)
    torch.set_num_threads(_THREADS)
    sys.argv = [str(script), *arguments]
    sys.path[0] = str(script.parent)
    runpy.run_path(str(script), run_name='__main__')
