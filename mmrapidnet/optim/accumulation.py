"""A learning rate that counts the batches whose gradients are accumulated."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from mmengine.optim import DefaultOptimWrapperConstructor
from mmengine.registry import OPTIM_WRAPPER_CONSTRUCTORS


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class AccumulationOptimWrapperConstructor(DefaultOptimWrapperConstructor):
    """mmengine's constructor, the learning rate times ``accumulative_counts``.

    mmengine's ``auto_scale_lr`` scales the rate with the batch of a process and the
    number of processes.  With this factor it is scaled with all images of a step.

    Args:
        optim_wrapper_cfg: As mmengine's.
        paramwise_cfg: As mmengine's. Defaults to None.

    Example:
        >>> from torch import nn
        >>> optimizer = dict(type='AdamW', lr=0.5)
        >>> build = AccumulationOptimWrapperConstructor(
        ...     dict(type='OptimWrapper', optimizer=optimizer, accumulative_counts=4)
        ... )
        >>> build(nn.Linear(1, 1)).get_lr()
        {'lr': [2.0]}
    """

    def __init__(
        self,
        optim_wrapper_cfg: dict[str, Any],
        paramwise_cfg: dict[str, Any] | None = None,
    ) -> None:
        cfg = deepcopy(optim_wrapper_cfg)
        cfg['optimizer']['lr'] *= cfg.get('accumulative_counts', 1)
        super().__init__(cfg, paramwise_cfg)
