"""A trained classifier that another one learns from."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from mmpretrain.models.utils import ClsDataPreprocessor
from mmpretrain.registry import MODELS
from torch import Tensor, nn

from mmrapidnet.checkpoints.fused import refuse_fused
from mmrapidnet.checkpoints.state_dict import (
    check_state_dict,
    get_state_dict,
    read_checkpoint,
)
from mmrapidnet.utils.errors import UserError

_NEITHER = 'or train without a teacher with --cfg-options model.head.distillation=none'


class Teacher:
    """A frozen classifier beside a model, and no part of it.

    It is no module, so that what holds it has it neither among its parameters nor in
    its state dict, and its training mode and initialisation leave it alone.  Deep
    copies of what holds it, such as a moving average of the weights, share it.

    Args:
        cfg: Config of a classifier that mmpretrain can build, such as
            ``dict(type='TimmClassifier', model_name='regnety_160')``, with its
            weights as ``checkpoint`` (path or URL).  With a ``data_preprocessor``
            of its own it gets the images in that normalisation and order of
            channels, otherwise as they are.
        preprocessor: What prepared the images that it will be shown.

    Raises:
        UserError: If there are no weights, or they do not fit.
    """

    def __init__(self, cfg: dict[str, Any], preprocessor: ClsDataPreprocessor) -> None:
        check_teacher(cfg)
        cfg = deepcopy(cfg)
        checkpoint = cfg.pop('checkpoint')
        own_images = cfg.get('data_preprocessor') is not None
        # A run draws the same random numbers with a teacher as without.
        with torch.random.fork_rng(devices=[]):
            model = MODELS.build(cfg)
        _load(model, checkpoint)
        self.model = model.eval().requires_grad_(False)
        self.preprocessor = preprocessor if own_images else None

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """Classify a batch that a student is trained on.

        Args:
            images: (N, 3, H, W), prepared for the student.

        Returns:
            Logits, (N, num_classes).
        """
        if self.preprocessor is not None:
            images = _renormalise(
                images, self.preprocessor, self.model.data_preprocessor
            )
        return self.model(images, mode='tensor')

    def __deepcopy__(self, memo: dict[int, Any]) -> Teacher:
        return self

    def apply(self, change: Callable[[Tensor], Tensor]) -> None:
        """Change all its tensors, as by a move to another device.

        Args:
            change: From a tensor to what takes its place.
        """
        self.model._apply(change)


def check_teacher(cfg: dict[str, Any] | None) -> None:
    """Raise unless a teacher is described and the file of its weights is there.

    Args:
        cfg: Config of the teacher; None for none.

    Raises:
        UserError: In one line, what is missing and how to train without it.
    """
    if not cfg:
        raise UserError(
            'distillation needs a teacher: give model.teacher=dict(type=..., '
            f'checkpoint=FILE) in the config, {_NEITHER}'
        )
    checkpoint = cfg.get('checkpoint')
    if not checkpoint:
        raise UserError(
            f'the teacher ({_describe(cfg)}) has no weights: give their file with '
            f'--cfg-options model.teacher.checkpoint=FILE, {_NEITHER}'
        )
    if '://' not in str(checkpoint) and not Path(checkpoint).is_file():
        raise UserError(
            f'the teacher ({_describe(cfg)}) has no file {checkpoint}: check '
            f'model.teacher.checkpoint, {_NEITHER}'
        )


def _describe(cfg: dict[str, Any]) -> str:
    """Its kind and, for timm's models, its name."""
    names = (cfg.get('type'), cfg.get('model_name'))
    return ' '.join(str(name) for name in names if name)


def _load(model: nn.Module, checkpoint: str) -> None:
    content = read_checkpoint(checkpoint)
    refuse_fused(content, checkpoint)
    # The training scripts that descend from DeiT's save the weights under 'model'.
    nested = content.get('model')
    state = get_state_dict(nested if isinstance(nested, dict) else content, checkpoint)
    # Old files have no counters of batches, which matter to no evaluation.
    needed = {
        name: value
        for name, value in model.state_dict().items()
        if name in state or not name.endswith('num_batches_tracked')
    }
    name = f'the teacher, {type(model).__name__}'
    check_state_dict(state, needed, '', name, checkpoint)
    model.load_state_dict({name: state[name] for name in needed})


def _renormalise(
    images: Tensor, done: ClsDataPreprocessor, wanted: ClsDataPreprocessor
) -> Tensor:
    """Bring prepared images into another preparation's normalisation and order."""
    mean, std = _statistics(done)
    images = images * std + mean
    if done.to_rgb != wanted.to_rgb:
        images = images.flip(1)
    mean, std = _statistics(wanted)
    return (images - mean) / std


def _statistics(
    preprocessor: ClsDataPreprocessor,
) -> tuple[Tensor | float, Tensor | float]:
    if preprocessor._enable_normalize:
        return preprocessor.mean, preprocessor.std
    return 0.0, 1.0
