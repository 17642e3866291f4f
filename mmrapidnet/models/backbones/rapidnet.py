"""RapidNet: multi-level dilated convolution mobile backbone.

Munir, Rahman, Marculescu, "RapidNet: Multi-Level Dilated Convolution Based Mobile
Backbone", WACV 2025, arXiv 2412.10995.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mmengine.registry import MODELS
from torch import Tensor, nn

from mmrapidnet.models.backbones.pyramid import PyramidBackbone
from mmrapidnet.models.layers import (
    ConvNormAct,
    DilatedMixer,
    InvertedResidual,
    LargeKernelFFN,
    ScaledResidual,
    build_stem,
)


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


class GlobalBlock(nn.Module):
    """Residual token mixer, then residual FFN (RapidNet, 3.2), (N, C, H, W) to same.

    Args:
        channels: C.
        norm_cfg: The normalisation.
        act_cfg: The activation.
        drop_path_rate: Rate of stochastic depth, of both residuals.
        layer_scale_init_value: Initial value of both layer scales.
    """

    def __init__(
        self,
        channels: int,
        norm_cfg: dict[str, Any],
        act_cfg: dict[str, Any],
        drop_path_rate: float,
        layer_scale_init_value: float,
    ) -> None:
        super().__init__()
        residual = (channels, drop_path_rate, layer_scale_init_value)
        self.mixer = ScaledResidual(
            DilatedMixer(channels, norm_cfg, act_cfg), *residual
        )
        self.ffn = ScaledResidual(
            LargeKernelFFN(channels, norm_cfg, act_cfg), *residual
        )

    def forward(self, x: Tensor) -> Tensor:
        """From (N, C, H, W) to the same shape."""
        return self.ffn(self.mixer(x))


@MODELS.register_module()
class RapidNet(PyramidBackbone):
    """RapidNet with feature-pyramid outputs.

    Args:
        arch: 'ti', 's', 'm' or 'b', or a dict with the keys ``channels``,
            ``local_blocks`` and ``global_blocks``, one number a stage.
            Defaults to 's'.
        in_channels: Channels of the image. Defaults to 3.
        out_indices: The stages (0 to 3) whose outputs are returned, ascending.
            Stages past the last one are not built. Defaults to (0, 1, 2, 3).
        frozen_stages: 0 freezes the stem, i > 0 the stem and the first i stages,
            -1 nothing. Defaults to -1.
        norm_eval: Whether normalisation layers stay in evaluation mode while
            training (their running statistics are then used and kept).
            Defaults to False.
        with_cp: Whether activations are recomputed in the backward pass to save
            memory (gradient checkpointing). Defaults to False.
        norm_cfg: The normalisation. Defaults to ``dict(type='BN')``.
        act_cfg: The activation. Defaults to ``dict(type='GELU')``, the exact one.
        drop_path_rate: Stochastic depth: the last rate of a linear rule from 0
            over all blocks of the four stages, or a list with one rate a block.
            Defaults to 0.
        layer_scale_init_value: Initial value of every layer scale.
            Defaults to 1e-5.
        init_cfg: Initialisation. ``dict(type='Pretrained', checkpoint=...)`` is
            loaded last and checked tensor by tensor. Defaults to None: Kaiming
            normal (fan in) for convolutions, 1 and 0 for normalisations.

    Raises:
        UserError: If ``arch`` is unknown or incomplete, or ``out_indices``,
            ``frozen_stages`` or ``drop_path_rate`` do not fit it.

    Example:
        >>> import torch
        >>> backbone = RapidNet(arch='ti').eval()
        >>> for feature in backbone(torch.zeros(1, 3, 64, 96)):
        ...     print(tuple(feature.shape))
        (1, 32, 16, 24)
        (1, 64, 8, 12)
        (1, 112, 4, 6)
        (1, 224, 2, 3)
        >>> backbone.out_channels, backbone.strides
        ((32, 64, 112, 224), (4, 8, 16, 32))
    """

    # Paper, Table 1, and the published code where it is silent.
    arch_settings = {
        'ti': dict(
            channels=(32, 64, 112, 224),
            local_blocks=(2, 2, 6, 2),
            global_blocks=(0, 0, 2, 2),
        ),
        's': dict(
            channels=(32, 64, 112, 224),
            local_blocks=(3, 3, 9, 3),
            global_blocks=(0, 0, 3, 3),
        ),
        'm': dict(
            channels=(32, 64, 160, 320),
            local_blocks=(3, 3, 9, 3),
            global_blocks=(0, 0, 3, 3),
        ),
        'b': dict(
            channels=(64, 128, 224, 416),
            local_blocks=(3, 3, 9, 3),
            global_blocks=(0, 0, 3, 3),
        ),
    }

    def __init__(
        self,
        arch: str | dict[str, Sequence[int]] = 's',
        in_channels: int = 3,
        out_indices: int | Sequence[int] = (0, 1, 2, 3),
        frozen_stages: int = -1,
        norm_eval: bool = False,
        with_cp: bool = False,
        norm_cfg: dict[str, Any] | None = None,
        act_cfg: dict[str, Any] | None = None,
        drop_path_rate: float | Sequence[float] = 0.0,
        layer_scale_init_value: float = 1e-5,
        init_cfg: dict[str, Any] | list[dict[str, Any]] | None = None,
    ) -> None:
        super().__init__(
            arch=arch,
            out_indices=out_indices,
            frozen_stages=frozen_stages,
            norm_eval=norm_eval,
            with_cp=with_cp,
            init_cfg=init_cfg,
        )
        self.norm_cfg = norm_cfg or dict(type='BN')
        self.act_cfg = act_cfg or dict(type='GELU')
        self.layer_scale_init_value = layer_scale_init_value

        depths = [
            local + global_
            for local, global_ in zip(
                self.arch['local_blocks'], self.arch['global_blocks'], strict=True
            )
        ]
        rates = self.split_drop_path_rate(drop_path_rate, depths)
        self.stem = build_stem(
            in_channels, self.arch['channels'][0], self.norm_cfg, self.act_cfg
        )
        self.stages = nn.ModuleList(
            self._build_stage(stage, rates[stage]) for stage in self.built_stages
        )
        self._freeze_stages()

    def _build_stage(self, stage: int, rates: Sequence[float]) -> nn.Sequential:
        """Downsampling (but in the first stage), local blocks, global blocks."""
        channels = self.arch['channels'][stage]
        layers: list[nn.Module] = []
        if stage > 0:
            layers.append(
                ConvNormAct(
                    self.arch['channels'][stage - 1],
                    channels,
                    3,
                    stride=2,
                    norm_cfg=self.norm_cfg,
                )
            )
        kinds = [LocalBlock] * self.arch['local_blocks'][stage]
        kinds += [GlobalBlock] * self.arch['global_blocks'][stage]
        layers += [
            kind(
                channels,
                self.norm_cfg,
                self.act_cfg,
                rate,
                self.layer_scale_init_value,
            )
            for kind, rate in zip(kinds, rates, strict=True)
        ]
        return nn.Sequential(*layers)
