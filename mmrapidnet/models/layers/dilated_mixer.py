"""The token mixer of RapidNet's global blocks: multi-level dilated convolution."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from mmrapidnet.models.layers.conv import ConvNormAct


class ConditionalPositionEncoding(nn.Module):
    """``x + depthwise 7x7 convolution of x``, with bias (CPE, arXiv 2102.10882).

    Args:
        channels: C of the input and the output.
        kernel_size: Odd edge length of the kernel. Defaults to 7.
    """

    def __init__(self, channels: int, kernel_size: int = 7) -> None:
        super().__init__()
        self.conv = nn.Conv2d(
            channels, channels, kernel_size, padding=kernel_size // 2, groups=channels
        )

    def forward(self, x: Tensor) -> Tensor:
        """From (N, C, H, W) to the same shape."""
        return x + self.conv(x)


class DilatedMixer(nn.Module):
    """Multi-level dilated convolution (MLDC; RapidNet, section 3.2).

    Conditional position encoding, 1x1 convolution, the sum of parallel full
    convolutions that differ in dilation, each with normalisation and activation,
    and a second 1x1 convolution.  The 1x1 convolutions are followed by
    normalisation only.

    Args:
        channels: C of the input and the output.
        norm_cfg: The normalisation.
        act_cfg: The activation.
        kernel_sizes: Odd edge length of each branch's kernel. Defaults to (3, 3).
        dilations: Dilation of each branch. Defaults to (2, 3).
        cpe: Whether the position encoding comes first. Defaults to True.

    Shapes: (N, C, H, W) to the same.
    """

    def __init__(
        self,
        channels: int,
        norm_cfg: dict[str, Any],
        act_cfg: dict[str, Any],
        kernel_sizes: Sequence[int] = (3, 3),
        dilations: Sequence[int] = (2, 3),
        cpe: bool = True,
    ) -> None:
        super().__init__()
        self.cpe = ConditionalPositionEncoding(channels) if cpe else nn.Identity()
        self.proj_in = ConvNormAct(channels, channels, norm_cfg=norm_cfg)
        self.branches = nn.ModuleList(
            self._build_branch(channels, kernel_size, dilation, norm_cfg, act_cfg)
            for kernel_size, dilation in zip(kernel_sizes, dilations, strict=True)
        )
        self.proj_out = ConvNormAct(channels, channels, norm_cfg=norm_cfg)

    def forward(self, x: Tensor) -> Tensor:
        """From (N, C, H, W) to the same shape."""
        return self.proj_out(self._mix(self.proj_in(self.cpe(x))))

    def _mix(self, x: Tensor) -> Tensor:
        return sum(branch(x) for branch in self.branches)

    @staticmethod
    def _build_branch(
        channels: int,
        kernel_size: int,
        dilation: int,
        norm_cfg: dict[str, Any],
        act_cfg: dict[str, Any],
    ) -> nn.Module:
        return ConvNormAct(
            channels,
            channels,
            kernel_size,
            dilation=dilation,
            norm_cfg=norm_cfg,
            act_cfg=act_cfg,
        )
