"""RapidNet: multi-level dilated convolution mobile backbone.

Munir, Rahman, Marculescu, "RapidNet: Multi-Level Dilated Convolution Based Mobile
Backbone", WACV 2025, arXiv 2412.10995.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from mmengine.registry import MODELS
from torch import Tensor, nn

from mmrapidnet.errors import UserError
from mmrapidnet.models.backbones.pyramid import PyramidBackbone
from mmrapidnet.models.layers import (
    ConvNormAct,
    DeformableMixer,
    DilatedMixer,
    FeedForward,
    LargeKernelFFN,
    LocalBlock,
    ScaledResidual,
    build_stem,
)


class GlobalBlock(nn.Module):
    """Residual token mixer, then residual FFN (RapidNet, 3.2), (N, C, H, W) to same.

    Args:
        channels: C.
        norm_cfg: The normalisation.
        act_cfg: The activation.
        drop_path_rate: Rate of stochastic depth, of both residuals.
        layer_scale_init_value: Initial value of both layer scales.
        mixer: Makes the token mixer of (channels, norm_cfg, act_cfg).
        ffn: Makes the FFN of the same.
    """

    def __init__(
        self,
        channels: int,
        norm_cfg: dict[str, Any],
        act_cfg: dict[str, Any],
        drop_path_rate: float,
        layer_scale_init_value: float,
        mixer: Callable[..., nn.Module],
        ffn: Callable[..., nn.Module],
    ) -> None:
        super().__init__()
        residual = (channels, drop_path_rate, layer_scale_init_value)
        self.mixer = ScaledResidual(mixer(channels, norm_cfg, act_cfg), *residual)
        self.ffn = ScaledResidual(ffn(channels, norm_cfg, act_cfg), *residual)

    def forward(self, x: Tensor) -> Tensor:
        """From (N, C, H, W) to the same shape."""
        return self.ffn(self.mixer(x))


# Kind of mixer: its branches' kernel sizes and dilations.
_MIXERS = {
    'pointwise': ((1,), (1,)),
    'conv3x3': ((3,), (1,)),
    'single_level': ((3,), (2,)),
    'multi_level': ((3, 3), (2, 3)),
    'deformable': ((3, 3), (2, 3)),
}


def resolve_branches(
    mixer: str,
    kernel_sizes: Sequence[int] | None = None,
    dilations: Sequence[int] | None = None,
) -> dict[str, tuple[int, ...]]:
    """Give every branch of a mixer its kernel size and its dilation.

    Args:
        mixer: Kind of mixer, as RapidNet's argument.
        kernel_sizes: One a branch; None for the kind's own.
        dilations: One a branch; None for the kind's own.

    Returns:
        ``kernel_sizes`` and ``dilations``, equally long.

    Raises:
        UserError: If there is no such kind, or the numbers do not fit it.

    Example:
        >>> resolve_branches('multi_level', dilations=(3, 4))
        {'kernel_sizes': (3, 3), 'dilations': (3, 4)}
    """
    if mixer not in _MIXERS:
        raise UserError(
            f"unknown mixer '{mixer}' of RapidNet: choose one of {', '.join(_MIXERS)}"
        )
    own_kernels, own_dilations = _MIXERS[mixer]
    kernels = tuple(own_kernels if kernel_sizes is None else kernel_sizes)
    rates = tuple(own_dilations if dilations is None else dilations)
    any_number = mixer in ('multi_level', 'deformable')
    if (
        not kernels
        or len(kernels) != len(rates)
        or not (any_number or len(kernels) == 1)
        or any(k < 1 or k % 2 == 0 for k in kernels)
        or any(rate < 1 for rate in rates)
    ):
        branches = 'one branch or more' if any_number else 'one branch'
        raise UserError(
            f'mixer_kernel_sizes={kernels} and mixer_dilations={rates} do not fit '
            f"mixer='{mixer}': give it for {branches} an odd kernel size and a "
            'dilation of at least 1 each'
        )
    return dict(kernel_sizes=kernels, dilations=rates)


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
        mixer: The convolutions between the global blocks' two 1x1 convolutions:
            'multi_level' (the paper's: parallel branches that differ in dilation),
            'single_level' (one dilated branch), 'conv3x3' (one plain branch),
            'pointwise' (one 1x1 branch) or 'deformable' (as 'multi_level', each
            branch mmcv's ``DeformConv2d``). Those but the first are the paper's
            ablations. Defaults to 'multi_level'.
        mixer_kernel_sizes: Odd edge length of each branch's kernel. Defaults to
            None: 3 for each, 1 for 'pointwise'.
        mixer_dilations: Dilation of each branch. Defaults to None: 2 and 3 for
            'multi_level' and 'deformable', 2 for 'single_level', else 1.
        cpe: Whether the mixer starts with the conditional position encoding.
            Defaults to True.
        large_kernel_ffn: Whether the global blocks' FFN starts with the 7x7
            depthwise convolution. Defaults to True.
        init_cfg: Initialisation. ``dict(type='Pretrained', checkpoint=...)`` is
            loaded last and checked tensor by tensor. Defaults to None: Kaiming
            normal (fan in) for convolutions, 1 and 0 for normalisations.

    Raises:
        UserError: If ``arch`` is unknown or incomplete, or ``out_indices``,
            ``frozen_stages`` or ``drop_path_rate`` do not fit it, or the mixer's
            arguments contradict one another.

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

    default_init_cfg = [
        dict(
            type='Kaiming',
            layer=['Conv2d', 'DeformConv2d'],
            mode='fan_in',
            nonlinearity='relu',
        ),
        dict(type='Constant', layer='_BatchNorm', val=1, bias=0),
        dict(type='Constant', layer='OffsetConv', val=0, bias=0),
    ]
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
        mixer: str = 'multi_level',
        mixer_kernel_sizes: Sequence[int] | None = None,
        mixer_dilations: Sequence[int] | None = None,
        cpe: bool = True,
        large_kernel_ffn: bool = True,
        init_cfg: dict[str, Any] | list[dict[str, Any]] | None = None,
    ) -> None:
        super().__init__(
            arch=arch,
            out_indices=out_indices,
            frozen_stages=frozen_stages,
            norm_eval=norm_eval,
            with_cp=with_cp,
            norm_cfg=norm_cfg,
            act_cfg=act_cfg,
            init_cfg=init_cfg,
        )
        self.layer_scale_init_value = layer_scale_init_value

        self._mixer = partial(
            DeformableMixer if mixer == 'deformable' else DilatedMixer,
            cpe=cpe,
            **resolve_branches(mixer, mixer_kernel_sizes, mixer_dilations),
        )
        self._ffn = LargeKernelFFN if large_kernel_ffn else FeedForward

        depths = [
            local + global_
            for local, global_ in zip(
                self.arch['local_blocks'], self.arch['global_blocks'], strict=True
            )
        ]
        channels = self.arch['channels'][0]
        stem = build_stem(in_channels, channels, self.norm_cfg, self.act_cfg)
        self._build(stem, depths, drop_path_rate)

    def _build_stage(self, stage: int, rates: Sequence[float]) -> nn.Sequential:
        """Downsampling (but in the first stage), local blocks, global blocks."""
        channels = self.arch['channels'][stage]
        layers: list[nn.Module] = []
        if stage > 0:
            before = self.arch['channels'][stage - 1]
            layers.append(
                ConvNormAct(before, channels, 3, stride=2, norm_cfg=self.norm_cfg)
            )
        global_block = partial(GlobalBlock, mixer=self._mixer, ffn=self._ffn)
        kinds = [LocalBlock] * self.arch['local_blocks'][stage]
        kinds += [global_block] * self.arch['global_blocks'][stage]
        both = (channels, self.norm_cfg, self.act_cfg)
        scale = self.layer_scale_init_value
        layers += [
            kind(*both, rate, scale) for kind, rate in zip(kinds, rates, strict=True)
        ]
        return nn.Sequential(*layers)
