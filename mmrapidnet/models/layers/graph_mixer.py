"""The token mixer of MobileViG's graph blocks: sparse vision graph attention."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from mmrapidnet.models.layers.conv import ConvNormAct


class GraphMixer(nn.Module):
    """Sparse vision graph attention (SVGA; MobileViG, arXiv 2307.00395, 3.1).

    Every pixel is compared with those at multiples of ``hop`` from it in its
    column and in its row, wrapping around the borders; the greatest difference
    (or 0) stands beside the pixel's own features in a 1x1 convolution.

    Args:
        channels: C of the input and the output.
        norm_cfg: The normalisation.
        act_cfg: The activation.
        hop: Distance of neighbouring pixels in the graph, in pixels of the feature
            map (K in the paper). Defaults to 2.

    Shapes: (N, C, H, W) to the same.
    """

    def __init__(
        self,
        channels: int,
        norm_cfg: dict[str, Any],
        act_cfg: dict[str, Any],
        hop: int = 2,
    ) -> None:
        super().__init__()
        self.hop = hop
        self.proj_in = ConvNormAct(channels, channels, norm_cfg=norm_cfg)
        self.graph_conv = ConvNormAct(
            2 * channels, 2 * channels, norm_cfg=norm_cfg, act_cfg=act_cfg
        )
        self.proj_out = ConvNormAct(2 * channels, channels, norm_cfg=norm_cfg)

    def forward(self, x: Tensor) -> Tensor:
        """From (N, C, H, W) to the same shape."""
        x = self.proj_in(x)
        # The greatest difference to any neighbour is that to the least of them;
        # the pixel itself stands for the difference 0.
        least = x
        for dim in (2, 3):
            for shift in range(self.hop, x.shape[dim], self.hop):
                least = torch.minimum(least, x.roll(shift, dim))
        return self.proj_out(self.graph_conv(torch.cat([x, x - least], dim=1)))
