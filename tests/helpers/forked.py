"""Processes without the seconds that starting Python anew takes, joined or alone."""

import datetime
import multiprocessing
import os
import socket
from collections.abc import Callable
from typing import Any

import torch
from torch import distributed


def start_autograd() -> None:
    """Compute a gradient before anything is exported, for the processes forked later.

    Exporting makes a torch for CUDA believe in a GPU that is not there (seen with
    2.14.1).  If the first gradient comes after it, torch starts a thread for that GPU,
    and then refuses gradients in every forked process.
    """
    (2 * torch.ones(1, requires_grad=True)).backward()


def fork(job: Callable[..., None], *arguments: Any) -> multiprocessing.Process:
    """Start a job in a process of its own.

    Args:
        job: What it does.
        arguments: What it is told.

    Returns:
        The process, running.
    """

    def run() -> None:
        # A pool of threads does not live on in a forked process.
        torch.set_num_threads(1)
        job(*arguments)

    process = multiprocessing.get_context('fork').Process(target=run)
    process.start()
    return process


def torchrun_variables(count: int) -> list[dict[str, str]]:
    """What torchrun tells each of several processes of this machine."""
    with socket.socket() as probe:
        probe.bind(('localhost', 0))
        port = str(probe.getsockname()[1])
    shared = dict(WORLD_SIZE=str(count), MASTER_ADDR='localhost', MASTER_PORT=port)
    return [
        dict(RANK=str(rank), LOCAL_RANK=str(rank), **shared) for rank in range(count)
    ]


def fork_ranks(count: int, job: Callable[[int], None], timeout: float = 60) -> list:
    """Start a job in several processes that are joined by gloo.

    Args:
        count: Number of processes.
        job: What each does; gets its rank.
        timeout: Seconds they wait for each other.

    Returns:
        The processes, running.
    """
    variables = torchrun_variables(count)

    def run(rank: int) -> None:
        os.environ.update(variables[rank])
        wait = datetime.timedelta(seconds=timeout)
        distributed.init_process_group('gloo', timeout=wait)
        job(rank)

    return [fork(run, rank) for rank in range(count)]
