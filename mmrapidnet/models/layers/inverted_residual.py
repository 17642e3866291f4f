"""The local block of RapidNet and MobileViG: the inverted residual bottleneck."""

from __future__ import annotations

from typing import Any

from torch import nn

from mmrapidnet.models.layers.conv import ConvNormAct
from mmrapidnet.models.layers.residual import ScaledResidual


class InvertedResidual(nn.Sequential):
    """1x1 expansion, 3x3 depthwise convolution, 1x1 projection, without the sum.

    Every convolution has a bias and is followed by normalisation, the first two
    by the activation as well (RapidNet, section 3.3; MobileNetV2).

    Args:
        channels: C of the input and the output.
        norm_cfg: The normalisation.
        act_cfg: The activation.
        expansion: Width of the hidden layers over C. Defaults to 4.

    Shapes: (N, C, H, W) to the same.
    """

    def __init__(
        self,
        channels: int,
        norm_cfg: dict[str, Any],
        act_cfg: dict[str, Any],
        expansion: int = 4,
    ) -> None:
        super().__init__()
        hidden = expansion * channels
        both = dict(norm_cfg=norm_cfg, act_cfg=act_cfg)
        self.add_module('expand', ConvNormAct(channels, hidden, **both))
        self.add_module(
            'depthwise', ConvNormAct(hidden, hidden, 3, groups=hidden, **both)
        )
        self.add_module('project', ConvNormAct(hidden, channels, norm_cfg=norm_cfg))


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
