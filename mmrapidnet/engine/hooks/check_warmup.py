"""Say before training that a warm-up does not end within the run."""

from __future__ import annotations

import logging

from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.optim import ConstantParamScheduler, LinearParamScheduler, _ParamScheduler
from mmengine.registry import HOOKS
from mmengine.runner import Runner


@HOOKS.register_module()
class CheckWarmupHook(Hook):
    """Warns of warm-ups that are longer than the run, which never has its full rate.

    A recipe for a large data set is easily taken to a small one, where 500 iterations
    are more than all epochs have.
    """

    def before_train(self, runner: Runner) -> None:
        """Look at the schedulers, which know their ends by now."""
        schedulers = runner.param_schedulers or []
        if isinstance(schedulers, dict):
            schedulers = [one for own in schedulers.values() for one in own]
        for scheduler in schedulers:
            end = _warmup_end(scheduler)
            unit = 'epochs' if scheduler.by_epoch else 'iterations'
            length = runner.max_epochs if scheduler.by_epoch else runner.max_iters
            if end > length:
                print_log(
                    f'the warm-up of {scheduler.param_name} '
                    f'({type(scheduler).__name__}) ends after {end} {unit}, but the '
                    f'run has {length}: it never reaches the value that the optimizer '
                    'has in the config; shorten the warm-up or train for longer',
                    logger='current',
                    level=logging.WARNING,
                )


def _warmup_end(scheduler: _ParamScheduler) -> int:
    """When a value has risen to the optimizer's own; 0 for what is no warm-up."""
    if isinstance(scheduler, LinearParamScheduler):
        rises = scheduler.start_factor < scheduler.end_factor
        return scheduler.end if rises else 0
    if isinstance(scheduler, ConstantParamScheduler):
        return scheduler.end if scheduler.factor < 1 else 0
    # mmdet's QuadraticWarmupLR, and WarmupCosineLR, which goes on after its warm-up.
    known = 'Warmup' in type(scheduler).__name__
    return getattr(scheduler, 'warmup', scheduler.end) if known else 0
