"""A step's batch in parts, for whom the whole of it does not fit on the devices.

Importing this module registers the hook; in a config::

    custom_imports = dict(
        imports=['mmrapidnet', 'mmrapidnet.engine.hooks.accumulation']
    )
    custom_hooks = [dict(type='GradientAccumulationHook', batch_size=2)]

mmengine's ``accumulative_counts`` gathers the gradients of several iterations instead:
schedules, warm-ups, intervals, moving averages and ``auto_scale_lr`` then count what is
not a step.  Here an iteration is a step, so all of them stay as the recipe has them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial

from mmengine.hooks import Hook
from mmengine.optim import OptimWrapper
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from torch import Tensor, nn


@HOOKS.register_module()
class GradientAccumulationHook(Hook):
    """Lets each step take its batch a part at a time, with the gradients added up.

    The losses of a part count by its share of the images, so a loss that is a mean over
    images has the gradient of the whole batch; losses with a normaliser of their own,
    as detectors have them, are normalised in each part, as they are in each of several
    processes.  So is batch normalisation.  Processes exchange gradients once per step.

    Args:
        batch_size: Images of a part; the last one has what is left.
    """

    def __init__(self, batch_size: int) -> None:
        self.batch_size = batch_size

    def before_train(self, runner: Runner) -> None:
        """Put the step in parts in the place of the model's own."""
        self.whole_step = runner.model.train_step
        runner.model.train_step = partial(
            _step_in_parts, self.whole_step, self.batch_size
        )

    def after_train(self, runner: Runner) -> None:
        """Give the model its own step back."""
        runner.model.train_step = self.whole_step


class _Share:
    """What the step of one part sees in the place of the optimizer."""

    def __init__(self, optim_wrapper: OptimWrapper, share: float, last: bool) -> None:
        self.optim_wrapper = optim_wrapper
        self.share = share
        self.last = last

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        alone = not self.last and hasattr(model, 'no_sync')
        with (
            model.no_sync() if alone else nullcontext(),
            self.optim_wrapper.optim_context(model),
        ):
            yield

    def update_params(self, loss: Tensor) -> None:
        if self.last:
            self.optim_wrapper.update_params(loss * self.share)
        else:
            self.optim_wrapper.backward(loss * self.share)


def _step_in_parts(
    step: Callable[..., dict[str, Tensor]],
    batch_size: int,
    data: dict | tuple | list,
    optim_wrapper: OptimWrapper,
) -> dict[str, Tensor]:
    fields = data.values() if isinstance(data, dict) else data
    total = len(next(iter(fields)))
    logged = {}
    for start in range(0, total, batch_size):
        stop = min(start + batch_size, total)
        share = (stop - start) / total
        part = _slice(data, start, stop)
        for name, value in step(
            part, optim_wrapper=_Share(optim_wrapper, share, last=stop == total)
        ).items():
            logged[name] = logged.get(name, 0) + value.detach() * share
    return logged


def _slice(data: dict | tuple | list, start: int, stop: int) -> dict | list:
    if isinstance(data, dict):
        return {name: field[start:stop] for name, field in data.items()}
    return [field[start:stop] for field in data]
