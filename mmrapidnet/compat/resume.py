"""Ends a run that cannot start from a checkpoint in one line.

Reason:
    ``Runner.resume`` puts what a file holds into optimizer, schedulers and loop as
    it is: a state that does not belong there, or was made up, fails with a
    traceback, at once or only when the schedule comes to it; that of a scheduler
    even takes the place of its methods.

Condition:
    Always.

What it does:
    Whatever fails while a checkpoint is loaded or resumed becomes a
    `UserError`, and values of another kind than those they take the place
    of are refused.
"""

import numbers
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from typing import Any

import torch

from mmrapidnet.compat.patching import wrap
from mmrapidnet.utils.errors import in_one_line, sanitize


def apply() -> None:
    """Guard ``Runner.resume``, ``Runner.load_checkpoint`` and the schedulers."""
    from mmengine.optim import _ParamScheduler
    from mmengine.runner import Runner

    wrap(_ParamScheduler, 'load_state_dict', _load_state_dict)
    wrap(Runner, 'load_checkpoint', _load_checkpoint)
    wrap(Runner, 'resume', _resume)


def _load_checkpoint(
    stock: Callable[..., Any], self: Any, filename: str, *args: Any, **kwargs: Any
) -> Any:
    with _starting_from(filename):
        return stock(self, filename, *args, **kwargs)


def _resume(
    stock: Callable[..., None], self: Any, filename: str, *args: Any, **kwargs: Any
) -> None:
    with _starting_from(filename):
        stock(self, filename, *args, **kwargs)
        _check_state(self)


def _starting_from(filename: str) -> AbstractContextManager[None]:
    return in_one_line(
        f'a run cannot start from {filename}',
        lambda error: f'{type(error).__name__}: {sanitize(error, 300)}',
        leave=(torch.cuda.OutOfMemoryError,),
    )


def _load_state_dict(stock: Callable[..., None], self: Any, state_dict: dict) -> None:
    for name, value in state_dict.items():
        if hasattr(type(self), name) or not _alike(getattr(self, name, None), value):
            raise ValueError(f'the state of {type(self).__name__} has no such {name}')
    stock(self, state_dict)


def _check_state(runner: Any) -> None:
    from mmengine.optim import OptimWrapperDict

    if not (type(runner.epoch) is int and type(runner.iter) is int):
        raise ValueError(f'it stopped at {runner.epoch}, {runner.iter}')
    wrapper = runner.optim_wrapper
    several = isinstance(wrapper, OptimWrapperDict)
    for part in wrapper.optim_wrappers.values() if several else [wrapper]:
        _check_optimizer(part.optimizer)


def _check_optimizer(optimizer: torch.optim.Optimizer) -> None:
    for group in optimizer.param_groups:
        for name, default in optimizer.defaults.items():
            if not _alike(default, group.get(name, default)):
                raise ValueError(f'the optimizer has no such {name}')
    for parameter, state in optimizer.state.items():
        for name, value in state.items():
            if torch.is_tensor(value) and value.shape not in ((), parameter.shape):
                raise ValueError(f'{name} of the optimizer has the shape of no weight')


def _alike(old: Any, new: Any) -> bool:
    """Whether a value may take the place of another."""
    if old is None or new is None:
        return True
    if isinstance(old, dict):
        return isinstance(new, dict) and _are_numbers([*new, *new.values()])
    if isinstance(old, (list, tuple)):
        return isinstance(new, (list, tuple)) and _are_numbers(new)
    if isinstance(old, numbers.Number):
        return isinstance(new, numbers.Number)
    return type(new) is type(old)


def _are_numbers(values: Iterable[Any]) -> bool:
    return all(isinstance(value, numbers.Number) for value in values)
