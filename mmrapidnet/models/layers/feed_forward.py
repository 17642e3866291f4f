"""The feed-forward networks that mix channels."""

from __future__ import annotations

from typing import Any

from torch import nn

from mmrapidnet.models.layers.conv import ConvNormAct


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
        self.add_module(
            'expand',
            ConvNormAct(
                channels, hidden, bias=bias, norm_cfg=norm_cfg, act_cfg=act_cfg
            ),
        )
        self.add_module(
            'project', ConvNormAct(hidden, channels, bias=bias, norm_cfg=norm_cfg)
        )


class LargeKernelFFN(nn.Sequential):
    """7x7 depthwise convolution, then a `FeedForward` (LK-FFN; RapidNet, 3.2).

    The depthwise convolution is the only one of RapidNet without a bias; it is
    followed by normalisation alone.

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
        bottleneck = FeedForward(channels, norm_cfg, act_cfg, expansion)
        for name, layer in bottleneck.named_children():
            self.add_module(name, layer)
