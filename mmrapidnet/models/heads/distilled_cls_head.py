"""A classification head with a class and a distillation output."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mmengine.registry import MODELS
from mmpretrain.models.heads import ClsHead
from mmpretrain.structures import DataSample
from torch import Tensor


@MODELS.register_module()
class DistilledClsHead(ClsHead):
    """Two classifiers on the last feature map, averaged for predictions.

    Without a teacher both are trained on the labels: the loss is the mean of their
    two losses.  The accuracy in training (``cal_acc``) is the class logits'.

    Args:
        classifier: Config of the layer from feature map to logits (pooling
            included), such as ``dict(type='DistilledClassifier', in_channels=224,
            hidden_channels=512, num_classes=1000)``: in training it gives the pair
            (class logits, distillation logits), in evaluation their mean.
        **kwargs: ``loss``, ``topk``, ``cal_acc`` and ``init_cfg`` of mmpretrain's
            ``ClsHead``.

    Example:
        >>> import torch
        >>> import mmrapidnet
        >>> classifier = dict(
        ...     type='DistilledLinearClassifier', in_channels=8, num_classes=3
        ... )
        >>> head = DistilledClsHead(classifier).eval()
        >>> (prediction,) = head.predict((torch.zeros(1, 8, 7, 7),))
        >>> tuple(prediction.pred_score.shape)
        (3,)
    """

    def __init__(self, classifier: dict[str, Any], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.classifier = MODELS.build(classifier)

    def forward(self, feats: Sequence[Tensor]) -> Tensor | tuple[Tensor, Tensor]:
        """Classify the last of some feature maps.

        Args:
            feats: Feature maps of a backbone, the last one (N, C, H, W).

        Returns:
            In evaluation the mean of both classifiers' logits, (N, num_classes);
            in training the pair (class logits, distillation logits).
        """
        return self.classifier(self.pre_logits(feats))

    def _get_loss(
        self,
        cls_score: Tensor | tuple[Tensor, Tensor],
        data_samples: list[DataSample],
        **kwargs: Any,
    ) -> dict[str, Tensor]:
        """The base class's losses, that of two classifiers averaged."""
        if isinstance(cls_score, Tensor):
            return super()._get_loss(cls_score, data_samples, **kwargs)
        logits, dist_logits = cls_score
        losses = super()._get_loss(logits, data_samples, **kwargs)
        distilled = super()._get_loss(dist_logits, data_samples, **kwargs)
        losses['loss'] = (losses['loss'] + distilled['loss']) / 2
        return losses
