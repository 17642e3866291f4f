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

import logging
import os
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from mmrapidnet.compat.patching import wrap


def apply() -> None:
    """Let mmengine's launchers and ``Runner.wrap_model`` work on CPUs."""
    from mmengine.device import get_device
    from mmengine.dist import utils
    from mmengine.runner import Runner, runner

    if get_device() != 'cpu':
        return
    for launcher in ('_init_dist_pytorch', '_init_dist_slurm', '_init_dist_mpi'):
        wrap(utils, launcher, _launch)
    wrap(Runner, 'wrap_model', _wrap_model)
    # A config's `sync_bn` asks for the layers that cannot work here.
    runner.convert_sync_batchnorm = _keep_layers


def _launch(
    stock: Callable[..., None], backend: str, *args: Any, **kwargs: Any
) -> None:
    select = torch.cuda.set_device
    torch.cuda.set_device = lambda device: None
    try:
        stock('gloo' if backend == 'nccl' else backend, *args, **kwargs)
    finally:
        torch.cuda.set_device = select


def _keep_layers(model: nn.Module, implementation: str) -> nn.Module:
    return model


def _wrap_model(
    stock: Callable[..., nn.Module],
    self: Any,
    model_wrapper_cfg: dict | None,
    model: nn.Module,
) -> nn.Module:
    from mmengine.logging import print_log
    from mmengine.model import is_model_wrapper, revert_sync_batchnorm

    if is_model_wrapper(model) or not self.distributed:
        return stock(self, model_wrapper_cfg, model)
    # Only its `device_ids`, not used here, come from it; mpirun sets none.
    os.environ.setdefault('LOCAL_RANK', '0')
    # mmengine's own where a config names none.
    wrapper = model_wrapper_cfg or {
        'type': 'MMDistributedDataParallel',
        'broadcast_buffers': False,
        'find_unused_parameters': self.cfg.get('find_unused_parameters', False),
    }
    if self.cfg.get('sync_bn') or any(
        isinstance(module, nn.SyncBatchNorm) for module in model.modules()
    ):
        print_log(
            'there is no SyncBN on CPUs: it becomes BN, so each process normalises '
            'over its own images',
            logger='current',
            level=logging.WARNING,
        )
    wrapper = {'device_ids': None, **wrapper}
    return stock(self, wrapper, revert_sync_batchnorm(model))
