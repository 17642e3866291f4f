"""A trained classifier that another one learns from."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from mmengine.registry import Registry
from mmpretrain.models.utils import ClsDataPreprocessor
from mmpretrain.registry import MODELS
from torch import Tensor

from mmrapidnet.checkpoints.state_dict import get_state_dict
from mmrapidnet.models.frozen import FrozenModel


class Teacher(FrozenModel):
    """A frozen classifier beside a model, and no part of it.

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

    registry: ClassVar[Registry] = MODELS
    instead = (
        'or train without a teacher with --cfg-options model.head.distillation=none'
    )

    def __init__(
        self, cfg: dict[str, Any] | None, preprocessor: ClsDataPreprocessor
    ) -> None:
        super().__init__(cfg)
        own_images = cfg.get('data_preprocessor') is not None
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

    def find_weights(
        self, content: dict[str, Any], checkpoint: str
    ) -> dict[str, Tensor]:
        """Find the weights; as `FrozenModel`'s, and also in files of timm's kin."""
        # The training scripts that descend from DeiT's save the weights under 'model'.
        nested = content.get('model')
        return get_state_dict(
            nested if isinstance(nested, dict) else content, checkpoint
        )


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
