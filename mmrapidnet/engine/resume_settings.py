"""A resumed run follows its config, also where another one started it."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.optim import OptimWrapper, OptimWrapperDict, _ParamScheduler
from mmengine.registry import HOOKS
from mmengine.runner import EpochBasedTrainLoop, Runner

from mmrapidnet.engine.loops import EPOCH_LENGTH
from mmrapidnet.utils.errors import UserError, sanitize

_NEW_RECIPE = 'to start another run from its weights, give load_from without resume'
# What is no setting but follows from others, or from how far the run is.
_GROUP_CONTENT = {'params', 'param_names'}
_PROGRESS = {'last_step', '_global_step', '_last_value', 'base_values', 'verbose'}
_PROGRESS |= {'best', 'num_bad_epochs', 'cooldown_counter', 'scale', '_growth_tracker'}
# Settings that a version of torch may lack, as they came later.
_LATER = {'foreach', 'maximize', 'capturable', 'differentiable', 'fused'}
_LATER |= {'decoupled_weight_decay'}
# Settings that need a state which the optimizer of the checkpoint did not keep.
_ADD_STATE = ('amsgrad', 'centered')


class _Part(NamedTuple):
    """One optimizer of a run with its schedulers, as built and as stored."""

    name: str
    wrapper: OptimWrapper
    schedulers: list[_ParamScheduler]
    state: dict[str, Any]
    scheduler_states: list[dict[str, Any]]


@HOOKS.register_module()
class ResumeSettingsHook(Hook):
    """Lets a resumed run go on with the optimizer and the schedules of its config.

    mmengine puts those of the checkpoint in their place, so a longer schedule or
    another rate would be ignored.  Here the two are compared before that, setting by
    setting.  Where all are the same, the checkpoint's state is taken as it is.
    Otherwise the config's settings hold from then on, schedules with the values that
    they would have had if they had been followed from the start, and a line names what
    differs.

    An epoch of another length (another batch size, number of processes or data set) is
    followed from the start of an epoch: iterations are then counted as if all epochs
    had that length.
    """

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Put the config's settings into the state that is about to be resumed.

        Args:
            runner: The runner, with its optimizer and schedulers built.
            checkpoint: The content of the checkpoint, changed in place.

        Raises:
            UserError: If something differs that cannot change within a run: the kind of
                the optimizer, its groups of parameters, the unit that the run counts
                in, the length of an epoch in the midst of one, or anything that moves
                a schedule which depends on metrics.
        """
        parts = list(_parts(runner, checkpoint))
        schedules = _fit_epochs(runner, checkpoint)
        settings = []
        for part in parts:
            _refuse_other_optimizer(part)
            scheduled = _scheduled(part)
            for name, line in _optimizer_differences(part).items():
                (schedules if name in scheduled else settings).append(line)
            schedules += _scheduler_differences(part)
        if not settings and not schedules:
            return
        if schedules:
            _follow_schedules(runner, parts, checkpoint['meta'], schedules)
        for part in parts:
            _store_settings(part, with_scheduled=bool(schedules))
        if schedules and runner.param_schedulers is not None:
            checkpoint['param_schedulers'] = _states(runner.param_schedulers)
        print_log(
            'the config differs from the run that is resumed, and holds from here on: '
            + '; '.join(settings + schedules),
            logger='current',
            level=logging.WARNING,
        )


def _parts(runner: Runner, checkpoint: dict[str, Any]) -> Iterator[_Part]:
    wrapper, schedulers = runner.optim_wrapper, runner.param_schedulers
    state, stored = checkpoint['optimizer'], checkpoint.get('param_schedulers')
    if not isinstance(wrapper, OptimWrapperDict):
        yield _Part('', wrapper, schedulers or [], state, stored or [])
        return
    for name, one in wrapper.optim_wrappers.items():
        own, own_stored = ((part or {}).get(name, []) for part in (schedulers, stored))
        yield _Part(f'{name}.', one, own, state[name], own_stored)


def _fit_epochs(runner: Runner, checkpoint: dict[str, Any]) -> list[str]:
    """Count iterations by epochs of the length that they have now."""
    meta = checkpoint['meta']
    epoch, iteration = meta['epoch'], meta['iter']
    if not isinstance(runner.train_loop, EpochBasedTrainLoop):
        if epoch:
            raise UserError(
                f'the checkpoint is of a run by epochs (it ended epoch {epoch}), but '
                f'train_cfg counts iterations; {_NEW_RECIPE}'
            )
        return []
    length = len(runner.train_dataloader)
    inside = epoch * length <= iteration <= (epoch + 1) * length
    before = checkpoint['message_hub'].get('runtime_info', {}).get(EPOCH_LENGTH)
    if before is None:
        before = length if inside or not epoch else iteration / epoch
    if before == length and inside:
        return []
    done, rest = divmod(iteration, before)
    if rest or done not in (epoch, epoch + 1):
        raise UserError(
            f'the checkpoint is from within epoch {epoch + 1}, at iteration '
            f'{iteration}, but an epoch has {length} iterations now (by the data set, '
            'train_dataloader.batch_size and the number of processes): resume one from '
            f'the end of an epoch; {_NEW_RECIPE}'
        )
    meta['iter'] = int(done) * length
    return [_differ('iterations of an epoch', length, before)]


def _refuse_other_optimizer(part: _Part) -> None:
    """Raise unless the stored state is one of these parameters by this optimizer."""
    optimizer = part.wrapper.optimizer
    built, stored = optimizer.param_groups, part.state['param_groups']
    sizes = [[len(g['params']) for g in groups] for groups in (built, stored)]
    names = [[g.get('param_names') for g in groups] for groups in (built, stored)]
    where = f'optim_wrapper.{part.name}'
    if sizes[0] != sizes[1] or (None not in names[1] and names[0] != names[1]):
        raise UserError(
            f'{where}paramwise_cfg and the model make {len(sizes[0])} groups of '
            f'{sum(sizes[0])} trained parameters, other ones than the '
            f'{len(sizes[1])} of {sum(sizes[1])} in the checkpoint; {_NEW_RECIPE}'
        )
    lacking = sorted(optimizer.defaults.keys() - stored[0].keys() - _LATER)
    if lacking:
        raise UserError(
            f'{where}optimizer.type is {type(optimizer).__name__}, but the checkpoint '
            f'is of an optimizer without {", ".join(lacking)}; {_NEW_RECIPE}'
        )
    for name in _ADD_STATE:
        if any(g.get(name) for g in built) and not stored[0].get(name):
            raise UserError(
                f'{where}optimizer.{name} cannot be switched on within a run; '
                f'{_NEW_RECIPE}'
            )


def _groups(part: _Part) -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Groups of parameters as named, built and stored; the base comes first."""
    name = f'optim_wrapper.{part.name}optimizer'
    base = part.wrapper.base_param_settings, part.state.get('base_param_settings')
    if None not in base:
        yield name, *base
    built, stored = part.wrapper.optimizer.param_groups, part.state['param_groups']
    for number, pair in enumerate(zip(built, stored, strict=True)):
        yield f'{name}.param_groups[{number}]' if len(built) > 1 else name, *pair


def _scheduled(part: _Part) -> set[str]:
    """The settings of the optimizer that schedules change."""
    found = {
        key.removeprefix('initial_')
        for _, *pair in _groups(part)
        for group in pair
        for key in group
        if key.startswith('initial_')
    }
    # Where an optimizer has no momentum, schedules of it change this.
    return found | ({'betas'} if 'momentum' in found else set())


def _optimizer_differences(part: _Part) -> dict[str, str]:
    found: dict[str, str] = {}
    for where, *pair in _groups(part):
        new, old = map(_settings, pair)
        for name in new:
            if name in old and not _same(new[name], old[name]):
                line = _differ(f'{where}.{name}', new[name], old[name])
                found.setdefault(name, line)
    scaler = getattr(part.wrapper, 'loss_scaler', None)
    old = part.state.get('loss_scaler')
    if scaler is not None and old:
        where = f'optim_wrapper.{part.name}loss_scale'
        found.update(_state_differences(where, scaler.state_dict(), old))
    return found


def _settings(group: dict[str, Any]) -> dict[str, Any]:
    """The settings of a group; of a scheduled one the value it started from."""
    left_out = {*_GROUP_CONTENT, *(['betas'] if 'initial_momentum' in group else [])}
    return {
        name: group.get(f'initial_{name}', value)
        for name, value in group.items()
        if name not in left_out and not name.startswith('initial_')
    }


def _scheduler_differences(part: _Part) -> list[str]:
    where = f'{part.name}param_scheduler'
    count, stored = len(part.schedulers), len(part.scheduler_states)
    if count != stored:
        return [_differ(f'schedulers in {where}', count, stored)]
    lines = []
    pairs = zip(part.schedulers, part.scheduler_states, strict=True)
    for number, (scheduler, old) in enumerate(pairs):
        new = scheduler.state_dict()
        if new.keys() != old.keys():
            kind = type(scheduler).__name__
            lines.append(_differ(f'{where}[{number}].type', kind, 'another'))
        else:
            found = _state_differences(f'{where}[{number}]', new, old)
            lines += found.values()
    return lines


def _state_differences(where: str, new: dict, old: dict) -> dict[str, str]:
    return {
        name: _differ(f'{where}.{name}', new[name], old[name])
        for name in new
        if name in old and name not in _PROGRESS and not _same(new[name], old[name])
    }


def _follow_schedules(
    runner: Runner, parts: list[_Part], meta: dict[str, Any], why: list[str]
) -> None:
    """Step the schedulers of the config as often as the run has stepped."""
    schedulers = [scheduler for part in parts for scheduler in part.schedulers]
    for scheduler in schedulers:
        if getattr(scheduler, 'need_val_args', False):
            raise UserError(
                f'{type(scheduler).__name__} depends on the metrics so far, so it '
                f'cannot follow {"; ".join(why)}: undo that; {_NEW_RECIPE}'
            )
    length = len(runner.train_dataloader) if meta['epoch'] else 0
    with warnings.catch_warnings():
        # That the optimizer has made no step yet.
        warnings.simplefilter('ignore', UserWarning)
        for iteration in range(1, meta['iter'] + 1):
            _step(schedulers, by_epoch=False)
            if iteration <= meta['epoch'] * length and iteration % length == 0:
                _step(schedulers, by_epoch=True)


def _step(schedulers: list[_ParamScheduler], by_epoch: bool) -> None:
    for scheduler in schedulers:
        if scheduler.by_epoch == by_epoch:
            scheduler.step()


def _store_settings(part: _Part, with_scheduled: bool) -> None:
    """Write the groups as they are built into the state."""
    kept = () if with_scheduled else _scheduled(part)
    for _, new, old in _groups(part):
        old.update(
            (name, value)
            for name, value in new.items()
            if name != 'params' and name.removeprefix('initial_') not in kept
        )
        if with_scheduled:
            for name in [n for n in old if n.startswith('initial_') and n not in new]:
                del old[name]
    if getattr(part.wrapper, 'loss_scaler', None) is not None:
        scaling = part.state.get('loss_scaler') or {}
        for name, value in part.wrapper.loss_scaler.state_dict().items():
            if name in scaling and name not in _PROGRESS:
                scaling[name] = value


def _states(schedulers: list | dict[str, list]) -> list | dict[str, list]:
    """What mmengine stores of schedulers."""
    if isinstance(schedulers, dict):
        return {name: _states(own) for name, own in schedulers.items()}
    return [scheduler.state_dict() for scheduler in schedulers]


def _same(new: Any, old: Any) -> bool:
    if isinstance(new, (list, tuple)) and isinstance(old, (list, tuple)):
        return len(new) == len(old) and all(map(_same, new, old))
    if torch.is_tensor(new) or torch.is_tensor(old):
        return torch.equal(torch.as_tensor(new), torch.as_tensor(old))
    return new == old


def _differ(name: str, new: Any, old: Any) -> str:
    return f'{name} {sanitize(new)} ({sanitize(old)} in the checkpoint)'
