"""Training and testing with several processes on CPUs.

Reason:
    mmengine's launchers (``pytorch``, ``slurm``, ``mpi``) select a CUDA device
    before anything else, configs ask for the ``nccl`` backend, the model is
    wrapped with ``device_ids``, which torch refuses for a model on a CPU, and
    ``SyncBatchNorm`` refuses CPU tensors once there is a process group.

Condition:
    mmengine finds no accelerator.

What it does:
    The launchers select no device and use ``gloo`` in place of ``nccl``; the
    model is wrapped without ``device_ids``, its SyncBN layers reverted to BN
    (as mmengine itself does where there is one process), which the log says.
"""

import contextlib
import functools
import logging
import os
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn


def apply() -> None:
    """Let mmengine's launchers and ``Runner.wrap_model`` work on CPUs."""
    from mmengine.device import get_device
    from mmengine.dist import utils
    from mmengine.runner import Runner, runner

    if get_device() != 'cpu' or hasattr(Runner.wrap_model, '__wrapped__'):
        return
    for launcher in ('_init_dist_pytorch', '_init_dist_slurm', '_init_dist_mpi'):
        setattr(utils, launcher, _on_cpu(getattr(utils, launcher)))
    Runner.wrap_model = _without_device_ids(Runner.wrap_model)
    # A config's `sync_bn` asks for the layers that cannot work here.
    runner.convert_sync_batchnorm = lambda model, implementation: model


def _on_cpu(launch: Callable) -> Callable:
    @functools.wraps(launch)
    def launch_on_cpu(backend: str, *args: Any, **kwargs: Any) -> None:
        with _no_device_selection():
            launch('gloo' if backend == 'nccl' else backend, *args, **kwargs)

    return launch_on_cpu


@contextlib.contextmanager
def _no_device_selection() -> Iterator[None]:
    select = torch.cuda.set_device
    torch.cuda.set_device = lambda device: None
    try:
        yield
    finally:
        torch.cuda.set_device = select


def _without_device_ids(wrap: Callable) -> Callable:
    @functools.wraps(wrap)
    def wrap_on_cpu(
        self: Any, model_wrapper_cfg: dict | None, model: nn.Module
    ) -> nn.Module:
        from mmengine.logging import print_log
        from mmengine.model import is_model_wrapper, revert_sync_batchnorm

        if is_model_wrapper(model) or not self.distributed:
            return wrap(self, model_wrapper_cfg, model)
        # Only its `device_ids`, not used here, come from it; mpirun sets none.
        os.environ.setdefault('LOCAL_RANK', '0')
        wrapper = dict(model_wrapper_cfg or _default_wrapper(self.cfg))
        wrapper.setdefault('device_ids', None)
        if self.cfg.get('sync_bn') or _synchronises(model):
            print_log(
                'there is no SyncBN on CPUs: it becomes BN, so each process normalises '
                'over its own images',
                logger='current',
                level=logging.WARNING,
            )
        return wrap(self, wrapper, revert_sync_batchnorm(model))

    return wrap_on_cpu


def _synchronises(model: nn.Module) -> bool:
    return any(isinstance(module, nn.SyncBatchNorm) for module in model.modules())


def _default_wrapper(cfg: Any) -> dict:
    """The wrapper mmengine uses where a config names none."""
    return {
        'type': 'MMDistributedDataParallel',
        'broadcast_buffers': False,
        'find_unused_parameters': cfg.get('find_unused_parameters', False),
    }
