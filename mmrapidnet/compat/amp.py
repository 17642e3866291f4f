"""Mixed precision training on a CPU.

Reason:
    ``AmpOptimWrapper``, which ``--amp`` selects, asserts that there is a CUDA,
    NPU, MLU or MUSA device, although ``torch.autocast`` supports CPUs.

Condition:
    mmengine finds no accelerator.

What it does:
    Trains under bfloat16 autocast, the one type torch's CPU autocast is made
    for (so ``dtype`` is not heeded).  bfloat16 has float32's range: there is no
    loss scaling, and checkpoints hold no ``loss_scaler``.
"""

from typing import Any

import torch

from mmrapidnet.compat import float32_ops


def apply() -> None:
    """Let ``AmpOptimWrapper`` train on a CPU."""
    from mmengine.device import get_device
    from mmengine.optim import AmpOptimWrapper, OptimWrapper

    if get_device() != 'cpu':
        return
    AmpOptimWrapper.__init__ = _init
    AmpOptimWrapper.load_state_dict = _load_state_dict
    for method in ('backward', 'step', 'state_dict'):
        setattr(AmpOptimWrapper, method, getattr(OptimWrapper, method))


def _init(
    self: Any,
    loss_scale: str | float | dict = 'dynamic',
    dtype: str | torch.dtype | None = None,
    use_fsdp: bool = False,
    **kwargs: Any,
) -> None:
    from mmengine.optim import OptimWrapper

    float32_ops.apply()
    OptimWrapper.__init__(self, **kwargs)
    self.cast_dtype = torch.bfloat16


def _load_state_dict(self: Any, state_dict: dict) -> None:
    from mmengine.optim import OptimWrapper

    state_dict.pop('loss_scaler', None)
    OptimWrapper.load_state_dict(self, state_dict)
