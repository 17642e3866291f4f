"""A cosine whose start is replaced by a warm-up."""

from __future__ import annotations

import math
from typing import Any

from mmengine.optim import _ParamScheduler
from mmengine.optim.scheduler.lr_scheduler import LRSchedulerMixin
from mmengine.registry import PARAM_SCHEDULERS

from mmrapidnet.utils.errors import UserError


@PARAM_SCHEDULERS.register_module()
class WarmupCosineLR(LRSchedulerMixin, _ParamScheduler):
    """Linear warm-up, then the rest of a cosine that began with it.

    At step t of ``end`` (epochs by default) the rate is ``warmup_lr`` and t / warmup
    of the way to the optimizer's own rate, for t below ``warmup``; then what a cosine
    over all ``end`` steps has at t.  mmengine's ``LinearLR`` and
    ``CosineAnnealingLR`` in sequence begin the cosine after the warm-up instead, and
    start from a fraction of the rate, not from a rate.  timm's ``CosineLRScheduler``
    without ``warmup_prefix`` gives the same values.

    Args:
        optimizer: The optimizer or its wrapper.
        warmup: Length of the warm-up in steps.
        warmup_lr: The rate it starts from.
        eta_min: The rate that the cosine leads to at ``end``.
        **kwargs: ``begin``, ``end``, ``last_step``, ``by_epoch`` and ``verbose`` of
            mmengine's schedulers. ``end`` is the length of the training unless given.

    Raises:
        UserError: If ``end`` is not known.

    Examples:
        >>> import torch
        >>> optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
        >>> scheduler = WarmupCosineLR(
        ...     optimizer, warmup=2, warmup_lr=0.5, eta_min=0.0, end=4
        ... )
        >>> rates = [0.5]
        >>> for _ in range(3):
        ...     optimizer.step()
        ...     scheduler.step()
        ...     rates.append(round(optimizer.param_groups[0]['lr'], 4))
        >>> rates
        [0.5, 0.75, 0.5, 0.1464]
    """

    def __init__(
        self,
        optimizer: Any,
        warmup: int,
        warmup_lr: float,
        eta_min: float,
        **kwargs: Any,
    ) -> None:
        if 'end' not in kwargs:
            raise UserError(
                'WarmupCosineLR needs the length of the training: give end=..., the '
                'number of epochs (or iterations with by_epoch=False)'
            )
        self.warmup = warmup
        self.warmup_lr = warmup_lr
        self.eta_min = eta_min
        super().__init__(optimizer, **kwargs)

    def _get_value(self) -> list[float]:
        """The rate of each group at ``last_step``."""
        return [self._rate(base) for base in self.base_values]

    def _rate(self, base: float) -> float:
        if self.last_step < self.warmup:
            way = self.last_step / self.warmup
            return self.warmup_lr + way * (base - self.warmup_lr)
        angle = math.pi * self.last_step / (self.end - self.begin)
        return self.eta_min + (base - self.eta_min) * (1 + math.cos(angle)) / 2
