"""A trained classifier that another one learns from."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from mmengine.registry import Registry
from mmpretrain.models.utils import ClsDataPreprocessor
from mmpretrain.registry import MODELS
from torch import Tensor, nn
from torch.nn import functional as F

from mmrapidnet.checkpoints.state_dict import get_state_dict
from mmrapidnet.models.frozen import FrozenModel
from mmrapidnet.utils.errors import UserError


class Teacher(FrozenModel):
    """A frozen classifier beside a model, and no part of it.

    Args:
        cfg: Config of a classifier that mmpretrain can build, such as
            ``dict(type='TimmClassifier', model_name='regnety_160')``, with its
            weights as ``checkpoint`` (path or URL).  With a ``data_preprocessor``
            of its own it gets the images in that normalisation and order of
            channels, otherwise as they are.  Three more settings suit a teacher to a
            smaller task than its own:

            - ``image_size`` (int or (height, width)): The size to which images are
              resized for it, bicubic as Pillow does it. Defaults to None: theirs.
            - ``classes`` (list of int): The student's classes, by the numbers that
              the teacher has for them; other logits are left out. Defaults to None:
              all.
            - ``remap`` (bool): Whether the weights have names of their own, and only
              their order is the model's, as in ``remap_state_dict`` of timm. Defaults
              to False.
        preprocessor: What prepared the images that it will be shown.

    Raises:
        UserError: If there are no weights, or they do not fit.
    """

    registry: ClassVar[Registry] = MODELS
    instead = (
        'or train without a teacher with --cfg-options model.head.distillation=none'
    )

    def __init__(
        self, cfg: dict[str, Any] | None, preprocessor: ClsDataPreprocessor
    ) -> None:
        self.check(cfg)
        cfg = dict(cfg)
        self.image_size = cfg.pop('image_size', None)
        self.classes = cfg.pop('classes', None)
        self.remap = cfg.pop('remap', False)
        super().__init__(cfg)
        own_images = cfg.get('data_preprocessor') is not None
        self.preprocessor = preprocessor if own_images else None

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """Classify a batch that a student is trained on.

        Args:
            images: (N, 3, H, W), prepared for the student.

        Returns:
            Logits of the student's classes, (N, num_classes).

        Raises:
            UserError: If it has no such classes.
        """
        if self.preprocessor is not None:
            images = _renormalise(
                images, self.preprocessor, self.model.data_preprocessor
            )
        if self.image_size is not None:
            images = F.interpolate(
                images, self.image_size, mode='bicubic', antialias=True
            )
        logits = self.model(images, mode='tensor')
        return logits if self.classes is None else self._choose(logits)

    def find_weights(
        self, content: dict[str, Any], checkpoint: str
    ) -> dict[str, Tensor]:
        """Find the weights; as `FrozenModel`'s, and also in files of timm's kin."""
        # The training scripts that descend from DeiT's save the weights under 'model'.
        nested = content.get('model')
        state = get_state_dict(
            nested if isinstance(nested, dict) else content, checkpoint
        )
        return _rename(state, self.model, checkpoint) if self.remap else state

    def _choose(self, logits: Tensor) -> Tensor:
        """Leave out the logits of classes that the student does not know."""
        known = range(logits.shape[1])
        unknown = [number for number in self.classes if number not in known]
        if unknown:
            raise UserError(
                f'model.teacher.classes has {unknown[0]!r}, but the teacher tells '
                f'{len(known)} classes apart: give their numbers, 0 to {len(known) - 1}'
            )
        return logits[:, self.classes]


def _rename(
    state: dict[str, Tensor], model: nn.Module, checkpoint: str
) -> dict[str, Tensor]:
    """Give tensors, which come in the order of a model's, the model's names."""
    ours, theirs = (
        [name for name in names if not name.endswith('num_batches_tracked')]
        for names in (model.state_dict(), state)
    )
    if len(ours) != len(theirs):
        raise UserError(
            f'{checkpoint} holds {len(theirs)} tensors and the teacher, '
            f'{type(model).__name__}, has {len(ours)}: is it of the same arch?'
        )
    return {name: state[other] for name, other in zip(ours, theirs)}


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
