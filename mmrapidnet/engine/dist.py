"""One job of several processes: how many, how long they wait, who is missing."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

from mmengine.config import Config
from mmengine.dist import get_rank, get_world_size, is_distributed
from torch import distributed

from mmrapidnet.utils.errors import UserError

TIMEOUT = 1800
# Processes that wait for the same one give up within a moment of each other.
_GRACE = 5
# What a launcher tells each process; the second is the number of processes.
_VARIABLES = {
    'pytorch': ('RANK', 'WORLD_SIZE', 'MASTER_ADDR', 'MASTER_PORT'),
    'slurm': ('SLURM_PROCID', 'SLURM_NTASKS', 'SLURM_NODELIST'),
    'mpi': ('OMPI_COMM_WORLD_RANK', 'OMPI_COMM_WORLD_SIZE', 'MASTER_ADDR'),
}
_STARTERS = {
    'pytorch': 'torchrun (tools/dist_train.sh CONFIG PROCESSES and '
    'tools/dist_test.sh call it)',
    'slurm': 'srun',
    'mpi': 'mpirun with MASTER_ADDR set',
}


def number_of_processes(cfg: Config) -> int:
    """How many processes the launcher started.

    Args:
        cfg: The config of a run.

    Returns:
        Their number, 1 without a launcher.
    """
    launcher = cfg.get('launcher', 'none')
    return 1 if launcher == 'none' else int(os.environ[_VARIABLES[launcher][1]])


def check_launcher(launcher: str) -> None:
    """Raise unless the launcher that is named has started this process.

    Args:
        launcher: 'none', 'pytorch', 'slurm' or 'mpi'.

    Raises:
        UserError: If what it tells each process is missing from the environment.
    """
    if launcher == 'none':
        return
    missing = [name for name in _VARIABLES[launcher] if name not in os.environ]
    if missing:
        raise UserError(
            f'--launcher {launcher}: {", ".join(missing)} is not set, so this process '
            f'was not started by {_STARTERS[launcher]}; leave --launcher out for one '
            'process'
        )


def set_timeout(cfg: Config, seconds: int | None) -> None:
    """Decide how long processes wait for each other before they give up.

    Args:
        cfg: The config, changed in place.
        seconds: How long; None for the config's own or half an hour.

    Raises:
        UserError: If it is not positive.
    """
    if seconds is not None and seconds <= 0:
        raise UserError(f'--timeout {seconds}: it must be a number of seconds above 0')
    if seconds is None:
        own = cfg.get('env_cfg', {}).get('dist_cfg', {})
        seconds = own.get('timeout', TIMEOUT)
    cfg.merge_from_dict({'env_cfg.dist_cfg.timeout': seconds})


@contextmanager
def naming_lost_ranks() -> Iterator[None]:
    """Say which process is missing where others wait for it in vain.

    The processes whose communication broke down or took too long leave word in the
    store they met at; those without a word are the lost ones.

    Raises:
        UserError: If there are any.
    """
    try:
        yield
    except RuntimeError as error:
        if not is_distributed() or not _broke_communication(error):
            raise
        lost = _ranks_without_word()
        if not lost:
            raise
        ranks = ', '.join(map(str, lost))
        raise UserError(
            f'waited in vain for rank {ranks}: killed, failed or hanging, look at its '
            'own output; if it only takes long, --timeout SECONDS waits longer'
        ) from error


def _broke_communication(error: RuntimeError) -> bool:
    # gloo has no exception of its own.
    of_gloo = any(word in str(error) for word in ('gloo', 'pair closure'))
    # Of those of torch 2.1 it is the only one.
    kind = getattr(distributed, 'DistError', distributed.DistBackendError)
    return of_gloo or isinstance(error, kind)


def _ranks_without_word() -> list[int]:
    store = distributed.PrefixStore(
        'ranks that gave up', distributed.distributed_c10d._get_default_store()
    )
    missing = [rank for rank in range(get_world_size()) if rank != get_rank()]
    end = time.monotonic() + _GRACE
    try:
        # By counters, which torch 2.1 has as well; it has no `check`.
        store.add(str(get_rank()), 1)
        while missing and time.monotonic() < end:
            missing = [rank for rank in missing if not store.add(str(rank), 0)]
            time.sleep(0.1)
    except RuntimeError:
        # Without torchrun the store is a part of this process.
        return [0]
    return missing
