"""Adaptive gradient clipping, with any optimizer wrapper."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from torch.optim import Optimizer

from mmrapidnet.utils.errors import UserError


@HOOKS.register_module()
class AdaptiveGradientClippingHook(Hook):
    """Keeps each unit's gradient small beside the unit's weights.

    Brock, De, Smith, Simonyan, "High-Performance Large-Scale Image Recognition
    Without Normalization", arXiv 2102.06171, by timm's ``adaptive_clip_grad``.  It
    acts whenever the optimizer is about to step: on gradients that were accumulated,
    summed over processes and, in mixed precision, unscaled.

    Args:
        clip_factor: The largest ratio of the norms of a unit's gradient and weights.
            Defaults to 0.01.
        eps: The least norm that weights count for. Defaults to 1e-3.
        norm_type: Order of the norm. Defaults to 2.
        exclude: Parameters that are not clipped: what their names start with, such as
            ``('head.classifier.head.',)``. Defaults to none.

    Raises:
        UserError: When training starts, if timm is not installed or ``exclude`` names
            no parameter.
    """

    def __init__(
        self,
        clip_factor: float = 0.01,
        eps: float = 1e-3,
        norm_type: float = 2.0,
        exclude: Sequence[str] = (),
    ) -> None:
        self.how = dict(clip_factor=clip_factor, eps=eps, norm_type=norm_type)
        self.exclude = tuple(exclude)

    def before_train(self, runner: Runner) -> None:
        """Have the optimizer clip before each of its steps."""
        try:
            from timm.utils import adaptive_clip_grad
        except ImportError as error:
            raise UserError(
                f'adaptive gradient clipping needs timm: {error}; pip install timm'
            ) from error
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        named = dict(model.named_parameters())
        for start in self.exclude:
            if not any(name.startswith(start) for name in named):
                raise UserError(
                    f'exclude={self.exclude}: no parameter is called {start}...'
                )
        clipped = [p for name, p in named.items() if not name.startswith(self.exclude)]

        def clip(optimizer: Optimizer, args: Any, kwargs: Any) -> None:
            adaptive_clip_grad(clipped, **self.how)

        runner.optim_wrapper.optimizer.register_step_pre_hook(clip)
