"""A classification head with a class and a distillation output."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mmengine.registry import MODELS
from mmpretrain.models.heads import ClsHead
from mmpretrain.structures import DataSample
from torch import Tensor
from torch.nn import functional as F

from mmrapidnet.utils.errors import UserError

DISTILLATIONS = ('none', 'hard', 'soft')


@MODELS.register_module()
class DistilledClsHead(ClsHead):
    """Two classifiers on the last feature map, averaged for predictions.

    With a teacher the class output learns the labels and the distillation output the
    teacher: the loss is ``(1 - alpha) * base + alpha * distillation``.  The latter is

    - 'hard': the cross entropy with the teacher's most likely class
      (Touvron et al., arXiv 2012.12877, as RapidNet, MobileViG and RepViT use it);
    - 'soft': ``tau**2`` times the Kullback-Leibler divergence from the teacher's
      probabilities, both logits divided by ``tau``, and averaged over images and
      classes, as in DeiT's published code (its paper sums over the classes).

    Without a teacher both outputs are trained on the labels: the loss is the mean of
    their two losses.  (The published code then has one classifier alone.)  The
    accuracy in training (``cal_acc``) is the class logits'.

    Args:
        classifier: Config of the layer from feature map to logits (pooling
            included), such as ``dict(type='DistilledClassifier', in_channels=224,
            hidden_channels=512, num_classes=1000)``: in training it gives the pair
            (class logits, distillation logits), in evaluation their mean.
        distillation: 'none', 'hard' or 'soft'. All but 'none' need the logits of a
            teacher, which `DistilledImageClassifier` brings. Defaults to 'none'.
        alpha: Weight of the distillation in the loss, 0 to 1. Defaults to 0.5.
        tau: Temperature of the soft distillation. Defaults to 1.
        **kwargs: ``loss``, ``topk``, ``cal_acc`` and ``init_cfg`` of mmpretrain's
            ``ClsHead``.

    Raises:
        UserError: If ``distillation``, ``alpha`` or ``tau`` is none of these.

    Examples:
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

    def __init__(
        self,
        classifier: dict[str, Any],
        distillation: str = 'none',
        alpha: float = 0.5,
        tau: float = 1.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if distillation not in DISTILLATIONS:
            raise UserError(
                f'unknown distillation {distillation!r}: choose one of '
                + ', '.join(DISTILLATIONS)
            )
        if not 0 <= alpha <= 1 or tau <= 0:
            raise UserError(
                f'alpha={alpha} and tau={tau} do not fit: alpha, the weight of the '
                'distillation, is between 0 and 1, tau, the temperature, above 0'
            )
        self.distillation = distillation
        self.alpha = alpha
        self.tau = tau
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
        teacher_logits: Tensor | None = None,
        **kwargs: Any,
    ) -> dict[str, Tensor]:
        """The base class's losses, with that of the distillation output.

        A head in evaluation has the averaged logits alone, and their loss.
        """
        if isinstance(cls_score, Tensor):
            return super()._get_loss(cls_score, data_samples, **kwargs)
        logits, dist_logits = cls_score
        losses = super()._get_loss(logits, data_samples, **kwargs)
        if self.distillation == 'none':
            second = super()._get_loss(dist_logits, data_samples, **kwargs)
            losses['loss'] = (losses['loss'] + second['loss']) / 2
            return losses
        distilled = self._distill(dist_logits, teacher_logits)
        # Their sum is the loss; the log shows each.
        return {
            'loss_cls': (1 - self.alpha) * losses.pop('loss'),
            'loss_dist': self.alpha * distilled,
            **losses,
        }

    def _distill(self, logits: Tensor, teacher_logits: Tensor | None) -> Tensor:
        """The loss of the distillation output, both (N, num_classes)."""
        if teacher_logits is None:
            raise UserError(
                f"distillation='{self.distillation}' needs a teacher: make the model a "
                "DistilledImageClassifier, or give distillation='none'"
            )
        if teacher_logits.shape != logits.shape:
            raise UserError(
                f'the teacher tells {teacher_logits.shape[1]} classes apart and the '
                f'model {logits.shape[1]}: give a teacher of the same classes, or '
                'choose among its own with model.teacher.classes'
            )
        if self.distillation == 'hard':
            return F.cross_entropy(logits, teacher_logits.argmax(dim=1))
        divergence = F.kl_div(
            F.log_softmax(logits / self.tau, dim=1),
            F.log_softmax(teacher_logits / self.tau, dim=1),
            reduction='sum',
            log_target=True,
        )
        return self.tau**2 * divergence / logits.numel()
