"""Classification tops with a class and a distillation output."""

from __future__ import annotations

from typing import Any

from mmengine.registry import MODELS
from torch import Tensor, nn

from mmrapidnet.models.layers.conv import ConvNormAct


@MODELS.register_module()
class DistilledClassifier(nn.Module):
    """Global average pool, 1x1 conv with norm and activation, two 1x1 classifiers.

    The top of RapidNet and MobileViG as published.

    Args:
        in_channels: Channels of the last feature map.
        hidden_channels: Width between pooling and classifiers (E in the papers'
            tables: 512 for RapidNet ti, s and m, 768 for b).
        num_classes: Number of classes.
        norm_cfg: The normalisation. Defaults to ``dict(type='BN')``.
        act_cfg: The activation. Defaults to ``dict(type='GELU')``.

    Example:
        >>> import torch
        >>> top = DistilledClassifier(224, 512, 10).eval()
        >>> tuple(top(torch.zeros(2, 224, 7, 7)).shape)
        (2, 10)
    """

    def __init__(
        self,
        in_channels: int,
        hidden_channels: int,
        num_classes: int,
        norm_cfg: dict[str, Any] | None = None,
        act_cfg: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.hidden = ConvNormAct(
            in_channels,
            hidden_channels,
            norm_cfg=norm_cfg or dict(type='BN'),
            act_cfg=act_cfg or dict(type='GELU'),
        )
        self.head = nn.Conv2d(hidden_channels, num_classes, 1)
        self.dist_head = nn.Conv2d(hidden_channels, num_classes, 1)

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """From (N, C, H, W) to logits.

        Returns:
            In evaluation the mean of both classifiers' logits, (N, num_classes);
            in training the pair (class logits, distillation logits).
        """
        x = self.hidden(self.pool(x))
        logits = self.head(x).flatten(1), self.dist_head(x).flatten(1)
        return logits if self.training else sum(logits) / 2


@MODELS.register_module()
class DistilledLinearClassifier(nn.Module):
    """Global average pool, then two pairs of batch normalisation and linear layer.

    The top of RepViT as published.

    Args:
        in_channels: Channels of the last feature map.
        num_classes: Number of classes.

    Example:
        >>> import torch
        >>> top = DistilledLinearClassifier(384, 10).eval()
        >>> tuple(top(torch.zeros(2, 384, 7, 7)).shape)
        (2, 10)
    """

    def __init__(self, in_channels: int, num_classes: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(in_channels)
        self.head = nn.Linear(in_channels, num_classes)
        self.dist_norm = nn.BatchNorm1d(in_channels)
        self.dist_head = nn.Linear(in_channels, num_classes)

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """From (N, C, H, W) to logits.

        Returns:
            In evaluation the mean of both classifiers' logits, (N, num_classes);
            in training the pair (class logits, distillation logits).
        """
        x = x.mean((2, 3))
        logits = self.head(self.norm(x)), self.dist_head(self.dist_norm(x))
        return logits if self.training else sum(logits) / 2
