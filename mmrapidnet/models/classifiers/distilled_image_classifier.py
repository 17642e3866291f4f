"""An image classifier that learns from a teacher."""

from __future__ import annotations

from typing import Any

from mmengine.registry import MODELS
from mmpretrain.models.classifiers import ImageClassifier
from mmpretrain.structures import DataSample
from torch import Tensor

from mmrapidnet.models.classifiers.teacher import Teacher
from mmrapidnet.models.frozen import LearnsFromTeacher


@MODELS.register_module()
class DistilledImageClassifier(LearnsFromTeacher, ImageClassifier):
    """mmpretrain's image classifier with a teacher beside it in training.

    The teacher sees the images the classifier sees, augmented and mixed up.  It stays
    in evaluation mode, follows the classifier to other devices, and is in neither its
    state dict nor its parameters.  It is built by ``init_weights``, with which
    training starts, so that testing, fusing and exporting need no teacher.

    Args:
        *args: As mmpretrain's ``ImageClassifier``; the head is a `DistilledClsHead`,
            which also says how the classifier learns (``distillation``).
        teacher: Config of any classifier that mmpretrain can build, with its weights
            as ``checkpoint`` and, where it wants other images than the classifier,
            its own ``data_preprocessor`` (``mean``, ``std``, ``to_rgb``) and
            ``image_size``; ``classes`` chooses among its classes (see `Teacher`).
            Defaults to None: none, for which the head's ``distillation`` must be
            'none'.
        **kwargs: As mmpretrain's ``ImageClassifier``.

    Raises:
        UserError: From ``init_weights``, if the teacher or its weights are missing,
            or do not fit.

    Examples:
        >>> import torch
        >>> import mmrapidnet
        >>> from mmengine.registry import init_default_scope
        >>> init_default_scope('mmpretrain')
        >>> model = DistilledImageClassifier(
        ...     backbone=dict(type='RapidNet', arch='ti', out_indices=(3,)),
        ...     head=dict(
        ...         type='DistilledClsHead',
        ...         classifier=dict(
        ...             type='DistilledClassifier',
        ...             in_channels=224,
        ...             hidden_channels=512,
        ...             num_classes=10,
        ...         ),
        ...         distillation='hard',
        ...     ),
        ...     teacher=dict(
        ...         type='TimmClassifier', model_name='regnety_160', checkpoint='t.pth'
        ...     ),
        ... ).eval()
        >>> tuple(model(torch.zeros(1, 3, 64, 64)).shape)
        (1, 10)
    """

    def __init__(
        self, *args: Any, teacher: dict[str, Any] | None = None, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self.teacher_cfg = teacher

    def init_weights(self) -> None:
        """Initialise the classifier, then build the teacher if there is to be one."""
        super().init_weights()
        if self.head.distillation != 'none':
            self._build_teacher()

    def loss(self, inputs: Tensor, data_samples: list[DataSample]) -> dict[str, Tensor]:
        """Compute the head's losses, of labels and teacher.

        Args:
            inputs: Images, (N, 3, H, W).
            data_samples: Their labels.

        Returns:
            Name to loss.
        """
        feats = self.extract_feat(inputs)
        if self.head.distillation == 'none' or not self.training:
            return self.head.loss(feats, data_samples)
        if self.teacher is None:
            self._build_teacher()
        return self.head.loss(feats, data_samples, teacher_logits=self.teacher(inputs))

    def _build_teacher(self) -> None:
        self.take_teacher(Teacher(self.teacher_cfg, self.data_preprocessor))
