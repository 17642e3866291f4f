"""Stop a run whose loss is no number any more, before it writes another checkpoint."""

from __future__ import annotations

import math
from typing import Any

import torch
from mmengine.dist import all_gather_object, all_reduce, get_world_size
from mmengine.hooks import CheckpointHook, Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from mmrapidnet.utils.errors import UserError


@HOOKS.register_module()
class CheckInvalidLossHook(Hook):
    """Stops at the first loss, or norm of the gradients, that is NaN or infinite.

    mmengine's logging reads the loss of each iteration anyway, so to look at it costs
    no waiting for a GPU that is not there already.  Several processes tell each other
    by one number per iteration, so that none writes a checkpoint of weights that
    another's loss has spoiled.  Weights are looked at whenever a checkpoint is due, as
    gradients may spoil them before a loss shows it.  A norm of gradients is there to
    see only where they are clipped, and is not looked at where losses are scaled
    (float16): such steps are skipped.

    mmdet's hook of this name looks at every 50th loss only, each process at its own,
    and mmsegmentation and mmpretrain have none.
    """

    # After what logs, before what writes checkpoints.
    priority = 'HIGH'

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Any = None,
        outputs: dict[str, Any] | None = None,
    ) -> None:
        """Look at the losses of an iteration.

        Raises:
            UserError: In one line, which iteration, which losses and which images,
                and the last checkpoint.
        """
        values = {**(outputs or {}), 'grad_norm': _grad_norm(runner)}
        values = {name: torch.as_tensor(value).item() for name, value in values.items()}
        found = {name: v for name, v in values.items() if not math.isfinite(v)}
        fault = ''
        if found:
            terms = ', '.join(f'{name} is {value}' for name, value in found.items())
            fault = f'{terms} with the images {", ".join(_images(data_batch))}'
        faults = _of_all_processes(fault)
        if faults:
            raise UserError(
                f'iteration {runner.iter + 1}: {"; ".join(faults)}; {_kept(runner)}'
            )
        if any(_is_due(hook, runner) for hook in runner.hooks):
            _check_weights(runner, runner.iter + 1)

    def after_train_epoch(self, runner: Runner) -> None:
        """Look at the weights.

        Raises:
            UserError: In one line, which weights, and the last checkpoint.
        """
        _check_weights(runner, runner.iter)


def _is_due(hook: Hook, runner: Runner) -> bool:
    """Whether a hook writes a checkpoint after this iteration."""
    if not isinstance(hook, CheckpointHook) or hook.by_epoch:
        return False
    last = hook.save_last and hook.is_last_train_iter(runner)
    return last or hook.every_n_train_iters(runner, hook.interval)


def _check_weights(runner: Runner, iteration: int) -> None:
    for name, weight in runner.model.named_parameters():
        if not torch.isfinite(weight).all():
            raise UserError(
                f'iteration {iteration}: the weights {name} are NaN or infinite, so '
                f'they are not written; {_kept(runner)}'
            )


def _grad_norm(runner: Runner) -> float:
    """The norm of the gradients in the last step; 0 if it says nothing."""
    scaled = getattr(runner.optim_wrapper, 'loss_scaler', None) is not None
    history = runner.message_hub.log_scalars.get('train/grad_norm')
    return 0.0 if scaled or history is None else history.current()


def _images(data_batch: Any) -> list[str]:
    """Paths of the images of a batch."""
    samples = data_batch.get('data_samples', ()) if isinstance(data_batch, dict) else ()
    return [str(getattr(sample, 'img_path', 'of unknown path')) for sample in samples]


def _of_all_processes(fault: str) -> list[str]:
    """The faults that some process found; empty if none did."""
    if get_world_size() == 1:
        return [fault] if fault else []
    count = torch.tensor(float(bool(fault)))
    all_reduce(count)
    return [text for text in all_gather_object(fault) if text] if count else []


def _kept(runner: Runner) -> str:
    last = runner.message_hub.get_info('last_ckpt')
    if last is None:
        return 'no checkpoint was written yet'
    return f'the last good checkpoint is {last}'
