"""The feed-forward network of RapidNet's global blocks."""

from __future__ import annotations

from typing import Any

from torch import nn

from mmrapidnet.models.layers.conv import ConvNormAct


class LargeKernelFFN(nn.Sequential):
    """7x7 depthwise convolution, then a 1x1 bottleneck (LK-FFN; RapidNet, 3.2).

    The depthwise convolution is the only one of the network without a bias;
    only the expansion is followed by the activation.

    Args:
        channels: C of the input and the output.
        norm_cfg: The normalisation.
        act_cfg: The activation.
        expansion: Width of the hidden layer over C. Defaults to 4.
        kernel_size: Odd edge length of the depthwise kernel. Defaults to 7.

    Shapes: (N, C, H, W) to the same.
    """

    def __init__(
        self,
        channels: int,
        norm_cfg: dict[str, Any],
        act_cfg: dict[str, Any],
        expansion: int = 4,
        kernel_size: int = 7,
    ) -> None:
        super().__init__()
        hidden = expansion * channels
        self.add_module(
            'depthwise',
            ConvNormAct(
                channels,
                channels,
                kernel_size,
                groups=channels,
                bias=False,
                norm_cfg=norm_cfg,
            ),
        )
        self.add_module(
            'expand', ConvNormAct(channels, hidden, norm_cfg=norm_cfg, act_cfg=act_cfg)
        )
        self.add_module('project', ConvNormAct(hidden, channels, norm_cfg=norm_cfg))
