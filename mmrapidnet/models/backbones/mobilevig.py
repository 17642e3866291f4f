"""MobileViG: mobile backbone of inverted residuals and sparse graph attention.

Munir, Avery, Marculescu, "MobileViG: Graph-Based Sparse Attention for Mobile Vision
Applications", CVPRW 2023, arXiv 2307.00395.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from mmengine.registry import MODELS
from torch import Tensor, nn

from mmrapidnet.models.backbones.base import NUM_STAGES, BaseBackbone
from mmrapidnet.models.layers import (
    ConvNormAct,
    FeedForward,
    LocalBlock,
    Residual,
    build_stem,
)


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


class GraphBlock(nn.Module):
    """Residual graph attention, then residual FFN (MobileViG, 3.2), shape kept.

    Args:
        channels: C.
        norm_cfg: The normalisation.
        act_cfg: The activation.
        drop_path_rate: Rate of stochastic depth, of both residuals.
    """

    def __init__(
        self,
        channels: int,
        norm_cfg: dict[str, Any],
        act_cfg: dict[str, Any],
        drop_path_rate: float,
    ) -> None:
        super().__init__()
        self.mixer = Residual(GraphMixer(channels, norm_cfg, act_cfg), drop_path_rate)
        self.ffn = Residual(FeedForward(channels, norm_cfg, act_cfg), drop_path_rate)

    def forward(self, x: Tensor) -> Tensor:
        """From (N, C, H, W) to the same shape."""
        return self.ffn(self.mixer(x))


@MODELS.register_module()
class MobileViG(BaseBackbone):
    """MobileViG with feature-pyramid outputs.

    Three stages of inverted residuals as RapidNet's, one of graph blocks.

    Args:
        arch: 'ti', 's', 'm' or 'b', or a dict with the keys ``channels`` and
            ``blocks``, one number per stage. Defaults to 's'.
        layer_scale_init_value: Initial value of the layer scale of the inverted
            residuals (graph blocks have none). Defaults to 1e-5.
        **kwargs: What every backbone takes, as `BaseBackbone`: ``in_channels``,
            ``out_indices``, ``frozen_stages``, ``norm_eval``, ``with_cp``,
            ``norm_cfg``, ``act_cfg``, ``drop_path_rate`` and ``init_cfg``.

    Raises:
        UserError: If an argument does not fit, as `BaseBackbone`.

    Examples:
        >>> import torch
        >>> backbone = MobileViG(arch='ti').eval()
        >>> for feature in backbone(torch.zeros(1, 3, 64, 96)):
        ...     print(tuple(feature.shape))
        (1, 42, 16, 24)
        (1, 84, 8, 12)
        (1, 168, 4, 6)
        (1, 256, 2, 3)
    """

    # Paper, Table 1, and the published code where it is silent.
    arch_settings = {
        'ti': dict(channels=(42, 84, 168, 256), blocks=(2, 2, 6, 2)),
        's': dict(channels=(42, 84, 176, 256), blocks=(3, 3, 9, 3)),
        'm': dict(channels=(42, 84, 224, 400), blocks=(3, 3, 9, 3)),
        'b': dict(channels=(42, 84, 240, 464), blocks=(5, 5, 15, 5)),
    }

    def __init__(
        self,
        arch: str | dict[str, Sequence[int]] = 's',
        *,
        layer_scale_init_value: float = 1e-5,
        **kwargs: Any,
    ) -> None:
        super().__init__(arch, **kwargs)
        self.layer_scale_init_value = layer_scale_init_value
        channels = self.arch['channels'][0]
        self.stem = build_stem(self.in_channels, channels, self.norm_cfg, self.act_cfg)
        self._build_stages(self.arch['blocks'])

    def _build_stage(self, stage: int, rates: Sequence[float]) -> nn.Sequential:
        """Downsampling (but in the first stage), then local or graph blocks."""
        channels = self.arch['channels'][stage]
        layers: list[nn.Module] = []
        if stage > 0:
            before = self.arch['channels'][stage - 1]
            layers.append(
                ConvNormAct(before, channels, 3, stride=2, norm_cfg=self.norm_cfg)
            )
        common = (channels, self.norm_cfg, self.act_cfg)
        if stage < NUM_STAGES - 1:
            scale = self.layer_scale_init_value
            layers += [LocalBlock(*common, rate, scale) for rate in rates]
        else:
            layers += [GraphBlock(*common, rate) for rate in rates]
        return nn.Sequential(*layers)
