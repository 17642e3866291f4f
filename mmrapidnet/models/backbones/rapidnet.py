"""RapidNet: multi-level dilated convolution mobile backbone.

Munir, Rahman, Marculescu, "RapidNet: Multi-Level Dilated Convolution Based Mobile
Backbone", WACV 2025, arXiv 2412.10995.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from mmcv.cnn import build_activation_layer, build_norm_layer
from mmengine.registry import MODELS
from torch import Tensor, nn

from mmrapidnet.models.backbones.base import BaseBackbone
from mmrapidnet.models.layers import (
    ConvNormAct,
    FeedForward,
    LargeKernelFFN,
    LocalBlock,
    ScaledResidual,
    build_stem,
)
from mmrapidnet.utils.errors import UserError


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


class OffsetConv(nn.Conv2d):
    """Predicts where a deformable kernel reads: two offsets a tap, in pixels.

    A 3x3 convolution with bias.  A type of its own, so that it can be initialised
    to zero, where the deformable convolution is a plain one.

    Args:
        channels: C of the input.
        kernel_size: Edge length of the deformable kernel.

    Shapes: (N, C, H, W) to (N, 2 * kernel_size**2, H, W).
    """

    def __init__(self, channels: int, kernel_size: int) -> None:
        super().__init__(channels, 2 * kernel_size**2, 3, padding=1)


class DeformableMixer(DilatedMixer):
    """`DilatedMixer` whose branches are deformable convolutions.

    One predictor of offsets serves all branches (RapidNet, supplementary Table 6;
    the sharing is what fits its number of parameters).

    Args:
        channels: C of the input and the output.
        norm_cfg: The normalisation.
        act_cfg: The activation.
        kernel_sizes: Odd edge length of the branches' kernels, the same for all.
            Defaults to (3, 3).
        dilations: Dilation of each branch. Defaults to (2, 3).
        cpe: Whether the position encoding comes first. Defaults to True.

    Raises:
        UserError: If the kernel sizes differ, or mmcv comes without its operators.

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
        if len(set(kernel_sizes)) != 1:
            raise UserError(
                f'kernel sizes {tuple(kernel_sizes)} of a deformable mixer differ: its '
                'branches share their offsets, so give all the same size'
            )
        super().__init__(channels, norm_cfg, act_cfg, kernel_sizes, dilations, cpe)
        self.offset = OffsetConv(channels, kernel_sizes[0])

    def _mix(self, x: Tensor) -> Tensor:
        offset = self.offset(x)
        return sum(branch(x, offset) for branch in self.branches)

    @staticmethod
    def _build_branch(
        channels: int,
        kernel_size: int,
        dilation: int,
        norm_cfg: dict[str, Any],
        act_cfg: dict[str, Any],
    ) -> nn.Module:
        return DeformConvNormAct(channels, kernel_size, dilation, norm_cfg, act_cfg)


class DeformConvNormAct(nn.Module):
    """mmcv's deformable convolution (it has no bias), normalisation, activation.

    Args:
        channels: C of the input and the output.
        kernel_size: Odd edge length of the kernel.
        dilation: Dilation of the kernel.
        norm_cfg: The normalisation.
        act_cfg: The activation.

    Raises:
        UserError: If mmcv comes without its operators.
    """

    def __init__(
        self,
        channels: int,
        kernel_size: int,
        dilation: int,
        norm_cfg: dict[str, Any],
        act_cfg: dict[str, Any],
    ) -> None:
        super().__init__()
        try:
            from mmcv.ops import DeformConv2d
        except ImportError as error:
            raise UserError(
                f'deformable convolution needs mmcv with its operators: {error}; '
                'install mmcv, not mmcv-lite'
            ) from error
        self.conv = DeformConv2d(
            channels,
            channels,
            kernel_size,
            padding=dilation * (kernel_size // 2),
            dilation=dilation,
        )
        self.norm = build_norm_layer(norm_cfg, channels)[1]
        self.act = build_activation_layer(act_cfg)

    def forward(self, x: Tensor, offset: Tensor) -> Tensor:
        """From (N, C, H, W) and its offsets, (N, 2 * kernel_size**2, H, W), to x's."""
        return self.act(self.norm(self.conv(x, offset)))


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

    Examples:
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
class RapidNet(BaseBackbone):
    """RapidNet with feature-pyramid outputs.

    Args:
        arch: 'ti', 's', 'm' or 'b', or a dict with the keys ``channels``,
            ``local_blocks`` and ``global_blocks``, one number per stage.
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
            over all blocks of the four stages, or a list with one rate per block.
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

    Examples:
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
