"""RapidNet: multi-level dilated convolution mobile backbone.

Munir, Rahman, Marculescu, "RapidNet: Multi-Level Dilated Convolution Based Mobile
Backbone", WACV 2025, arXiv 2412.10995.

A stem, then four stages of local blocks (section 3.3) and, in the last two, global
blocks (section 3.2), which are a `DilatedMixer` and a `LargeKernelFFN`.  The other
mixers are those of the paper's ablations.
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
    LocalBlock,
    ScaledResidual,
    build_stem,
)
from mmrapidnet.utils.errors import UserError


class ConditionalPositionEncoding(nn.Module):
    """``x + depthwise 7x7 convolution of x``, with bias (CPE, arXiv 2102.10882).

    Args:
        channels: C of the input and the output.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 7, padding=3, groups=channels)

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
    """

    branch_type: type[nn.Module] = ConvNormAct

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
        both = dict(norm_cfg=norm_cfg, act_cfg=act_cfg)
        self.cpe = ConditionalPositionEncoding(channels) if cpe else nn.Identity()
        self.proj_in = ConvNormAct(channels, channels, norm_cfg=norm_cfg)
        self.branches = nn.ModuleList(
            self.branch_type(channels, channels, kernel_size, dilation=dilation, **both)
            for kernel_size, dilation in zip(kernel_sizes, dilations, strict=True)
        )
        self.proj_out = ConvNormAct(channels, channels, norm_cfg=norm_cfg)

    def forward(self, x: Tensor) -> Tensor:
        """From (N, C, H, W) to the same shape."""
        return self.proj_out(self._mix(self.proj_in(self.cpe(x))))

    def _mix(self, x: Tensor) -> Tensor:
        return sum(branch(x) for branch in self.branches)


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


class DeformConvNormAct(nn.Module):
    """mmcv's deformable convolution (it has no bias), normalisation, activation.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        kernel_size: Odd edge length of the kernel.
        dilation: Dilation of the kernel.
        norm_cfg: The normalisation.
        act_cfg: The activation.

    Raises:
        UserError: If mmcv comes without its operators.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
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
            in_channels,
            out_channels,
            kernel_size,
            padding=dilation * (kernel_size // 2),
            dilation=dilation,
        )
        self.norm = build_norm_layer(norm_cfg, out_channels)[1]
        self.act = build_activation_layer(act_cfg)

    def forward(self, x: Tensor, offset: Tensor) -> Tensor:
        """From (N, C, H, W) and its offsets, (N, 2 * kernel_size**2, H, W), to x's."""
        return self.act(self.norm(self.conv(x, offset)))


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
        **kwargs: ``dilations`` and ``cpe``, as `DilatedMixer`.

    Raises:
        UserError: If the kernel sizes differ, or mmcv comes without its operators.
    """

    branch_type = DeformConvNormAct

    def __init__(
        self,
        channels: int,
        norm_cfg: dict[str, Any],
        act_cfg: dict[str, Any],
        kernel_sizes: Sequence[int] = (3, 3),
        **kwargs: Any,
    ) -> None:
        if len(set(kernel_sizes)) != 1:
            raise UserError(
                f'kernel sizes {tuple(kernel_sizes)} of a deformable mixer differ: its '
                'branches share their offsets, so give all the same size'
            )
        super().__init__(channels, norm_cfg, act_cfg, kernel_sizes, **kwargs)
        self.offset = OffsetConv(channels, kernel_sizes[0])

    def _mix(self, x: Tensor) -> Tensor:
        offset = self.offset(x)
        return sum(branch(x, offset) for branch in self.branches)


class LargeKernelFFN(nn.Sequential):
    """7x7 depthwise convolution, 1x1 to 4C, 1x1 back (LK-FFN; RapidNet, section 3.2).

    The depthwise convolution is the only one of RapidNet without a bias.  Each is
    followed by normalisation, the middle one by the activation as well.

    Args:
        channels: C of the input and the output.
        norm_cfg: The normalisation.
        act_cfg: The activation.

    Shapes: (N, C, H, W) to the same.
    """

    def __init__(
        self, channels: int, norm_cfg: dict[str, Any], act_cfg: dict[str, Any]
    ) -> None:
        super().__init__()
        self.depthwise = ConvNormAct(
            channels, channels, 7, groups=channels, bias=False, norm_cfg=norm_cfg
        )
        # As in `FeedForward`, which the ablation without the 7x7 convolution has.
        hidden = 4 * channels
        self.expand = ConvNormAct(channels, hidden, norm_cfg=norm_cfg, act_cfg=act_cfg)
        self.project = ConvNormAct(hidden, channels, norm_cfg=norm_cfg)


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


def _resolve_branches(
    mixer: str, kernel_sizes: Sequence[int] | None, dilations: Sequence[int] | None
) -> dict[str, tuple[int, ...]]:
    """The kernel size and the dilation of every branch; None for the mixer's own."""
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
        **kwargs: What every backbone takes, as `BaseBackbone`: ``in_channels``,
            ``out_indices``, ``frozen_stages``, ``norm_eval``, ``with_cp``,
            ``norm_cfg``, ``act_cfg``, ``drop_path_rate`` and ``init_cfg``.

    Raises:
        UserError: If the mixer's arguments contradict one another or, as
            `BaseBackbone`, another argument does not fit.

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
    # Paper, Table 1, and the published code where it is silent: s, m and b are as deep.
    _blocks = dict(local_blocks=(3, 3, 9, 3), global_blocks=(0, 0, 3, 3))
    arch_settings = {
        'ti': dict(
            channels=(32, 64, 112, 224),
            local_blocks=(2, 2, 6, 2),
            global_blocks=(0, 0, 2, 2),
        ),
        's': dict(channels=(32, 64, 112, 224), **_blocks),
        'm': dict(channels=(32, 64, 160, 320), **_blocks),
        'b': dict(channels=(64, 128, 224, 416), **_blocks),
    }

    def __init__(
        self,
        arch: str | dict[str, Sequence[int]] = 's',
        *,
        layer_scale_init_value: float = 1e-5,
        mixer: str = 'multi_level',
        mixer_kernel_sizes: Sequence[int] | None = None,
        mixer_dilations: Sequence[int] | None = None,
        cpe: bool = True,
        large_kernel_ffn: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(arch, **kwargs)
        self.layer_scale_init_value = layer_scale_init_value
        self._mixer = partial(
            DeformableMixer if mixer == 'deformable' else DilatedMixer,
            cpe=cpe,
            **_resolve_branches(mixer, mixer_kernel_sizes, mixer_dilations),
        )
        self._ffn = LargeKernelFFN if large_kernel_ffn else FeedForward

        channels = self.arch['channels'][0]
        self.stem = build_stem(self.in_channels, channels, self.norm_cfg, self.act_cfg)
        blocks = zip(self.arch['local_blocks'], self.arch['global_blocks'], strict=True)
        self._build_stages([local + global_ for local, global_ in blocks])

    def _build_stage(self, stage: int, rates: Sequence[float]) -> nn.Sequential:
        """Downsampling (but in the first stage), local blocks, global blocks."""
        channels = self.arch['channels'][stage]
        layers: list[nn.Module] = []
        if stage > 0:
            before = self.arch['channels'][stage - 1]
            layers.append(
                ConvNormAct(before, channels, 3, stride=2, norm_cfg=self.norm_cfg)
            )
        local = self.arch['local_blocks'][stage]
        common = (channels, self.norm_cfg, self.act_cfg)
        scale = self.layer_scale_init_value
        layers += [LocalBlock(*common, rate, scale) for rate in rates[:local]]
        layers += [
            GlobalBlock(*common, rate, scale, self._mixer, self._ffn)
            for rate in rates[local:]
        ]
        return nn.Sequential(*layers)
