"""Building blocks that several families share.  No block knows a backbone."""

from __future__ import annotations

from typing import Any

import torch
from mmcv.cnn import build_activation_layer, build_norm_layer
from mmcv.cnn.bricks import DropPath
from mmengine.registry import MODELS
from torch import Tensor, nn


class ConvNormAct(nn.Sequential):
    """Conv2d -> normalisation -> optional activation, padded to keep the size.

    The children are called ``conv``, ``norm`` and ``act``.  mmcv's
    ``ConvModule`` is not used because the published networks keep the bias of
    convolutions that are followed by batch normalisation.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        kernel_size: Odd edge length of the kernel, in pixels. Defaults to 1.
        stride: Stride of the convolution. Defaults to 1.
        dilation: Dilation of the kernel; the padding is
            ``dilation * (kernel_size - 1) / 2``. Defaults to 1.
        groups: Groups of the convolution. Defaults to 1.
        bias: Whether the convolution has a bias. Defaults to True.
        norm_cfg: The normalisation, built by mmcv.
        act_cfg: The activation, built by mmcv; None for none.

    Shapes: (N, in_channels, H, W) to (N, out_channels, ceil(H / stride),
    ceil(W / stride)).

    Examples:
        >>> import torch
        >>> layer = ConvNormAct(3, 8, kernel_size=3, stride=2, norm_cfg=dict(type='BN'))
        >>> tuple(layer(torch.zeros(2, 3, 7, 10)).shape)
        (2, 8, 4, 5)
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 1,
        stride: int = 1,
        dilation: int = 1,
        groups: int = 1,
        bias: bool = True,
        *,
        norm_cfg: dict[str, Any],
        act_cfg: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(
            in_channels,
            out_channels,
            kernel_size,
            stride=stride,
            padding=dilation * (kernel_size // 2),
            dilation=dilation,
            groups=groups,
            bias=bias,
        )
        self.norm = build_norm_layer(norm_cfg, out_channels)[1]
        if act_cfg is not None:
            self.act = build_activation_layer(act_cfg)


def build_stem(
    in_channels: int,
    out_channels: int,
    norm_cfg: dict[str, Any],
    act_cfg: dict[str, Any],
    bias: bool = True,
    last_act: bool = True,
) -> nn.Sequential:
    """The convolutional stem that the three families share.

    Two 3x3 convolutions of stride 2, through ``out_channels // 2`` channels, each
    with normalisation and activation (RapidNet, section 3.3; RepViT has neither
    biases nor the second activation).

    Args:
        in_channels: Channels of the image.
        out_channels: Channels of the first stage.
        norm_cfg: The normalisation.
        act_cfg: The activation.
        bias: Whether the convolutions have a bias. Defaults to True.
        last_act: Whether the second convolution is activated, too.
            Defaults to True.

    Returns:
        A module from (N, in_channels, H, W) to
        (N, out_channels, ceil(H / 4), ceil(W / 4)).
    """
    middle = out_channels // 2
    both = dict(kernel_size=3, stride=2, bias=bias, norm_cfg=norm_cfg)
    last_act_cfg = act_cfg if last_act else None
    return nn.Sequential(
        ConvNormAct(in_channels, middle, act_cfg=act_cfg, **both),
        ConvNormAct(middle, out_channels, act_cfg=last_act_cfg, **both),
    )


class Residual(nn.Module):
    """``x + drop_path(branch(x))``.

    Args:
        branch: A module that keeps the shape of its input, (N, C, H, W).
        drop_path_rate: Probability to skip the branch for a sample in training
            (stochastic depth). Defaults to 0.
    """

    def __init__(self, branch: nn.Module, drop_path_rate: float = 0.0) -> None:
        super().__init__()
        self.branch = branch
        self.drop_path = DropPath(drop_path_rate) if drop_path_rate else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """From (N, C, H, W) to the same shape."""
        return x + self.drop_path(self.branch(x))


class ScaledResidual(Residual):
    """``x + drop_path(scale * branch(x))`` with a learnt scale per channel.

    Args:
        branch: A module that keeps the shape of its input, (N, C, H, W).
        channels: C.
        drop_path_rate: Probability to skip the branch for a sample in training
            (stochastic depth). Defaults to 0.
        layer_scale_init_value: Initial value of the scale (layer scale,
            arXiv 2103.17239). Defaults to 1e-5.
    """

    def __init__(
        self,
        branch: nn.Module,
        channels: int,
        drop_path_rate: float = 0.0,
        layer_scale_init_value: float = 1e-5,
    ) -> None:
        super().__init__(branch, drop_path_rate)
        self.scale = nn.Parameter(
            torch.full((channels, 1, 1), float(layer_scale_init_value))
        )

    def forward(self, x: Tensor) -> Tensor:
        """From (N, C, H, W) to the same shape."""
        return x + self.drop_path(self.scale * self.branch(x))


class InvertedResidual(nn.Sequential):
    """1x1 expansion to 4C, 3x3 depthwise convolution, 1x1 projection, without the sum.

    Every convolution has a bias and is followed by normalisation, the first two
    by the activation as well (RapidNet, section 3.3; MobileNetV2).

    Args:
        channels: C of the input and the output.
        norm_cfg: The normalisation.
        act_cfg: The activation.

    Shapes: (N, C, H, W) to the same.
    """

    def __init__(
        self, channels: int, norm_cfg: dict[str, Any], act_cfg: dict[str, Any]
    ) -> None:
        super().__init__()
        hidden = 4 * channels
        both = dict(norm_cfg=norm_cfg, act_cfg=act_cfg)
        self.expand = ConvNormAct(channels, hidden, **both)
        self.depthwise = ConvNormAct(hidden, hidden, 3, groups=hidden, **both)
        self.project = ConvNormAct(hidden, channels, norm_cfg=norm_cfg)


class LocalBlock(ScaledResidual):
    """Residual inverted bottleneck (RapidNet, section 3.3), (N, C, H, W) to same.

    Args:
        channels: C.
        norm_cfg: The normalisation.
        act_cfg: The activation.
        drop_path_rate: Rate of stochastic depth.
        layer_scale_init_value: Initial value of the layer scale.
    """

    def __init__(
        self,
        channels: int,
        norm_cfg: dict[str, Any],
        act_cfg: dict[str, Any],
        drop_path_rate: float,
        layer_scale_init_value: float,
    ) -> None:
        branch = InvertedResidual(channels, norm_cfg, act_cfg)
        super().__init__(branch, channels, drop_path_rate, layer_scale_init_value)


class FeedForward(nn.Sequential):
    """1x1 convolution to a wider layer, 1x1 convolution back, without the sum.

    Both are followed by normalisation, the first by the activation as well.  The
    FFN of MobileViG's graph blocks and, without biases and with an expansion of 2,
    RepViT's channel mixer (arXiv 2307.09283, section 3.1).

    Args:
        channels: C of the input and the output.
        norm_cfg: The normalisation.
        act_cfg: The activation.
        expansion: Width of the hidden layer over C. Defaults to 4.
        bias: Whether the convolutions have a bias. Defaults to True.

    Shapes: (N, C, H, W) to the same.
    """

    def __init__(
        self,
        channels: int,
        norm_cfg: dict[str, Any],
        act_cfg: dict[str, Any],
        expansion: int = 4,
        bias: bool = True,
    ) -> None:
        super().__init__()
        hidden = expansion * channels
        both = dict(bias=bias, norm_cfg=norm_cfg)
        self.expand = ConvNormAct(channels, hidden, act_cfg=act_cfg, **both)
        self.project = ConvNormAct(hidden, channels, **both)


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

    Examples:
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

    Examples:
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
