"""A trained model beside the one that learns from it, and no part of that."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any, ClassVar

import torch
from mmengine.registry import MODELS, Registry
from torch import Tensor, nn

from mmrapidnet.checkpoints.fused import refuse_fused
from mmrapidnet.checkpoints.state_dict import (
    check_state_dict,
    get_state_dict,
    read_checkpoint,
)
from mmrapidnet.utils.errors import UserError


class FrozenModel:
    """A model in evaluation mode whose weights do not change.

    It is no module, so that what holds it has it neither among its parameters nor in
    its state dict, and its training mode and initialisation leave it alone.  Deep
    copies of what holds it, such as a moving average of the weights, share it.

    Args:
        cfg: Config of the model, with its weights as ``checkpoint`` (path or URL).

    Raises:
        UserError: If there are no weights, or they do not fit.
    """

    registry: ClassVar[Registry] = MODELS
    # What to do instead, for messages.
    instead: ClassVar[str]

    def __init__(self, cfg: dict[str, Any] | None) -> None:
        self.check(cfg)
        cfg = deepcopy(cfg)
        checkpoint = cfg.pop('checkpoint')
        # A run draws the same random numbers with it as without.
        with torch.random.fork_rng(devices=[]):
            self.model = self.registry.build(cfg)
        self._fill(checkpoint)
        self.model.eval().requires_grad_(False)

    def __deepcopy__(self, memo: dict[int, Any]) -> FrozenModel:
        return self

    def apply(self, change: Callable[[Tensor], Tensor]) -> None:
        """Change all its tensors, as by a move to another device.

        Args:
            change: From a tensor to what takes its place.
        """
        self.model._apply(change)

    @classmethod
    def check(cls, cfg: dict[str, Any] | None) -> None:
        """Raise unless a teacher is described and the file of its weights is there.

        Args:
            cfg: Config of the teacher; None for none.

        Raises:
            UserError: In one line, what is missing and what to do instead.
        """
        if not cfg:
            raise UserError(
                'distillation needs a teacher: give model.teacher=dict(type=..., '
                f'checkpoint=FILE) in the config, {cls.instead}'
            )
        checkpoint = cfg.get('checkpoint')
        if not checkpoint:
            raise UserError(
                f'the teacher ({_describe(cfg)}) has no weights: give their file with '
                f'--cfg-options model.teacher.checkpoint=FILE, {cls.instead}'
            )
        if '://' not in str(checkpoint) and not Path(checkpoint).is_file():
            raise UserError(
                f'the teacher ({_describe(cfg)}) has no file {checkpoint}: check '
                f'model.teacher.checkpoint, {cls.instead}'
            )

    def find_weights(
        self, content: dict[str, Any], checkpoint: str
    ) -> dict[str, Tensor]:
        """Find the weights in a checkpoint, under the names of the model.

        Args:
            content: The content of the file.
            checkpoint: The file's name, for messages.

        Returns:
            Name to tensor.

        Raises:
            UserError: If there are none.
        """
        return get_state_dict(content, checkpoint)

    def _fill(self, checkpoint: str) -> None:
        content = read_checkpoint(checkpoint)
        refuse_fused(content, checkpoint)
        state = self.find_weights(content, checkpoint)
        # Old files have no counters of batches, which matter to no evaluation.
        needed = {
            name: value
            for name, value in self.model.state_dict().items()
            if name in state or not name.endswith('num_batches_tracked')
        }
        name = f'the teacher, {type(self.model).__name__}'
        check_state_dict(state, needed, '', name, checkpoint)
        self.model.load_state_dict({name: state[name] for name in needed})


class LearnsFromTeacher:
    """Of a module with a teacher beside it, which follows it to other devices.

    The first base class of such a module.
    """

    teacher: FrozenModel | None = None

    def take_teacher(self, teacher: FrozenModel) -> None:
        """Learn from a teacher, on the device that the module is on."""
        device = next(self.parameters()).device
        teacher.apply(lambda tensor: tensor.to(device))
        self.teacher = teacher

    def _apply(
        self, fn: Callable[[Tensor], Tensor], *args: Any, **kwargs: Any
    ) -> nn.Module:
        """Take the teacher along, to another device or type."""
        if self.teacher is not None:
            self.teacher.apply(fn)
        return super()._apply(fn, *args, **kwargs)


def _describe(cfg: dict[str, Any]) -> str:
    """Its kind and, for timm's models, its name."""
    names = (cfg.get('type'), cfg.get('model_name'))
    return ' '.join(str(name) for name in names if name)
