"""Ends the data workers of a run that is killed.

Reason:
    A worker of torch's loader whose run was killed ends only after its last samples
    were read, which nobody does any more: it stays, with the memory it holds.

Condition:
    Linux, and a loader whose config names no ``worker_init_fn`` of its own.

What it does:
    A worker asks the kernel to be killed with the process that started it.
"""

import ctypes
import multiprocessing
import os
import signal
import sys
from typing import Any

PR_SET_PDEATHSIG = 1


def apply() -> None:
    """Let ``Runner.build_dataloader`` start workers that end with the run."""
    from mmengine.runner import runner

    if sys.platform == 'linux':
        runner.default_worker_init_fn = init_worker


def init_worker(*args: Any, **kwargs: Any) -> None:
    """Seed a worker as mmengine does, and let it end with its parent."""
    from mmengine.dataset import worker_init_fn

    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != multiprocessing.parent_process().pid:
        os._exit(1)  # the parent ended before the kernel was asked
    worker_init_fn(*args, **kwargs)
