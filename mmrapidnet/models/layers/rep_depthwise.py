"""RepViT's token mixer: depthwise convolutions that merge into one."""

from __future__ import annotations

from typing import Any

from mmcv.cnn import build_norm_layer
from torch import Tensor, nn

from mmrapidnet.models.layers.conv import ConvNormAct


class RepDepthwise(nn.Module):
    """``norm(depthwise 3x3 conv and norm of x + depthwise 1x1 conv of x + x)``.

    The three branches are linear: in evaluation they equal a single 3x3 depthwise
    convolution (structural re-parameterisation; RepViT, arXiv 2307.09283,
    section 3.2, and the published code).

    Args:
        channels: C of the input and the output.
        norm_cfg: The normalisation.

    Shapes: (N, C, H, W) to the same.
    """

    def __init__(self, channels: int, norm_cfg: dict[str, Any]) -> None:
        super().__init__()
        self.depthwise = ConvNormAct(
            channels, channels, 3, groups=channels, bias=False, norm_cfg=norm_cfg
        )
        self.pointwise = nn.Conv2d(channels, channels, 1, groups=channels)
        self.norm = build_norm_layer(norm_cfg, channels)[1]

    def forward(self, x: Tensor) -> Tensor:
        """From (N, C, H, W) to the same shape."""
        return self.norm(self.depthwise(x) + self.pointwise(x) + x)
