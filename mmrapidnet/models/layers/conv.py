"""Convolution, normalisation, activation: the unit everything here is made of."""

from __future__ import annotations

from typing import Any

from mmcv.cnn import build_activation_layer, build_norm_layer
from torch import nn


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

    Example:
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
        self.add_module(
            'conv',
            nn.Conv2d(
                in_channels,
                out_channels,
                kernel_size,
                stride=stride,
                padding=dilation * (kernel_size // 2),
                dilation=dilation,
                groups=groups,
                bias=bias,
            ),
        )
        self.add_module('norm', build_norm_layer(norm_cfg, out_channels)[1])
        if act_cfg is not None:
            self.add_module('act', build_activation_layer(act_cfg))


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
    both = dict(stride=2, bias=bias, norm_cfg=norm_cfg)
    return nn.Sequential(
        ConvNormAct(in_channels, middle, 3, act_cfg=act_cfg, **both),
        ConvNormAct(
            middle, out_channels, 3, act_cfg=act_cfg if last_act else None, **both
        ),
    )
