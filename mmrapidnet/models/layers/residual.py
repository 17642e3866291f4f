"""Residual connections: x + stochastic depth of f(x), f scaled or not."""

from __future__ import annotations

import torch
from mmcv.cnn.bricks import DropPath
from torch import Tensor, nn


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
