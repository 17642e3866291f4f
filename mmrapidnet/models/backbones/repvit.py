"""RepViT: mobile convolutional backbone in the block layout of vision transformers.

Wang, Chen, Lin, Han, Ding, "RepViT: Revisiting Mobile CNN From ViT Perspective",
CVPR 2024, arXiv 2307.09283.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mmcv.cnn import build_norm_layer
from mmengine.registry import MODELS
from torch import Tensor, nn

from mmrapidnet.models.backbones.base import NUM_STAGES, BaseBackbone
from mmrapidnet.models.layers import ConvNormAct, FeedForward, Residual, build_stem
from mmrapidnet.utils.errors import UserError

TAPS = ('stage_end', 'before_last')
LAST_STAGE = NUM_STAGES - 1


class SqueezeExcitation(nn.Module):
    """``x * sigmoid(expand(relu(reduce(global average of x))))``, arXiv 1709.01507.

    Both are 1x1 convolutions with bias.  The width between them is a quarter of
    the channels, to the nearest multiple of 8 and at least 8, as RepViT has it
    (published code).

    Args:
        channels: C of the input and the output.

    Examples:
        >>> SqueezeExcitation(48).reduce.out_channels
        16
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = max(8, int(channels / 4 + 4) // 8 * 8)
        self.reduce = nn.Conv2d(channels, hidden, 1)
        self.expand = nn.Conv2d(hidden, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """From (N, C, H, W) to the same shape."""
        pooled = x.mean((2, 3), keepdim=True)
        return x * self.expand(self.reduce(pooled).relu()).sigmoid()


class RepDepthwise(nn.Module):
    """``norm(depthwise 3x3 conv and norm of x + depthwise 1x1 conv of x + x)``.

    The three branches are linear: in evaluation they equal a single 3x3 depthwise
    convolution (structural re-parameterisation; RepViT, arXiv 2307.09283,
    section 3.2, and the published code).

    Args:
        channels: C of the input and the output.
        norm_cfg: The normalisation.
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


def _build_channel_mixer(
    channels: int,
    norm_cfg: dict[str, Any],
    act_cfg: dict[str, Any],
    drop_path_rate: float,
) -> Residual:
    """The residual bottleneck that ends every block, (N, C, H, W) to same."""
    branch = FeedForward(channels, norm_cfg, act_cfg, expansion=2, bias=False)
    return Residual(branch, drop_path_rate)


class RepViTBlock(nn.Module):
    """Token mixer, squeeze-and-excitation on some, channel mixer; shape kept.

    Args:
        channels: C.
        norm_cfg: The normalisation.
        act_cfg: The activation.
        drop_path_rate: Rate of stochastic depth of the channel mixer.
        with_se: Whether there is a squeeze-and-excitation.
    """

    def __init__(
        self,
        channels: int,
        norm_cfg: dict[str, Any],
        act_cfg: dict[str, Any],
        drop_path_rate: float,
        with_se: bool,
    ) -> None:
        super().__init__()
        self.mixer = RepDepthwise(channels, norm_cfg)
        self.se = SqueezeExcitation(channels) if with_se else nn.Identity()
        self.ffn = _build_channel_mixer(channels, norm_cfg, act_cfg, drop_path_rate)

    def forward(self, x: Tensor) -> Tensor:
        """From (N, C, H, W) to the same shape."""
        return self.ffn(self.se(self.mixer(x)))


class RepViTDownsample(nn.Module):
    """Strided depthwise 3x3, 1x1 to the new width, channel mixer.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        norm_cfg: The normalisation.
        act_cfg: The activation.
        drop_path_rate: Rate of stochastic depth of the channel mixer.
        stride: Of the depthwise convolution. Defaults to 2.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        norm_cfg: dict[str, Any],
        act_cfg: dict[str, Any],
        drop_path_rate: float,
        stride: int = 2,
    ) -> None:
        super().__init__()
        self.depthwise = ConvNormAct(
            in_channels,
            in_channels,
            3,
            stride=stride,
            groups=in_channels,
            bias=False,
            norm_cfg=norm_cfg,
        )
        self.pointwise = ConvNormAct(
            in_channels, out_channels, bias=False, norm_cfg=norm_cfg
        )
        self.ffn = _build_channel_mixer(out_channels, norm_cfg, act_cfg, drop_path_rate)

    def forward(self, x: Tensor) -> Tensor:
        """From (N, C_in, H, W) to (N, C_out, ceil(H / stride), ceil(W / stride))."""
        return self.ffn(self.pointwise(self.depthwise(x)))


@MODELS.register_module()
class RepViT(BaseBackbone):
    """RepViT with feature-pyramid outputs, in its training form.

    Args:
        arch: 'm0_6', 'm0_9', 'm1_0', 'm1_1', 'm1_5' or 'm2_3', or a dict with the
            keys ``channels`` and ``blocks``, one number per stage; the block that
            halves the resolution counts. Defaults to 'm1_1'.
        tap: Where the first three stages are tapped: 'stage_end', as the published
            segmentation configs have it, or 'before_last', one block earlier, as
            the published detection configs (and timm) have it. The last stage is
            tapped at its end. Defaults to 'stage_end'.
        last_stride: 2, or 1 for a last stage that keeps the resolution of the one
            before, as the image encoder of RepViT-SAM has it (arXiv 2312.05760).
            Defaults to 2.
        **kwargs: What every backbone takes, as `BaseBackbone`: ``in_channels``,
            ``out_indices``, ``frozen_stages``, ``norm_eval`` (True in the published
            dense configs), ``with_cp``, ``norm_cfg``, ``act_cfg``, ``drop_path_rate``
            (of the channel mixers; 0 as published) and ``init_cfg``.

    Raises:
        UserError: If ``tap``, ``last_stride`` or, as `BaseBackbone`, another argument
            does not fit.

    Examples:
        >>> import torch
        >>> backbone = RepViT(arch='m0_9').eval()
        >>> for feature in backbone(torch.zeros(1, 3, 64, 96)):
        ...     print(tuple(feature.shape))
        (1, 48, 16, 24)
        (1, 96, 8, 12)
        (1, 192, 4, 6)
        (1, 384, 2, 3)
    """

    # The published code; the paper's Table 1 and figures give the same widths.
    arch_settings = {
        'm0_6': dict(channels=(40, 80, 160, 320), blocks=(2, 3, 10, 2)),
        'm0_9': dict(channels=(48, 96, 192, 384), blocks=(3, 4, 16, 3)),
        'm1_0': dict(channels=(56, 112, 224, 448), blocks=(3, 4, 16, 3)),
        'm1_1': dict(channels=(64, 128, 256, 512), blocks=(3, 4, 14, 3)),
        'm1_5': dict(channels=(64, 128, 256, 512), blocks=(5, 6, 26, 5)),
        'm2_3': dict(channels=(80, 160, 320, 640), blocks=(7, 8, 36, 3)),
    }
    # The block that halves the resolution is one of a stage's blocks.
    least_blocks = 1

    def __init__(
        self,
        arch: str | dict[str, Sequence[int]] = 'm1_1',
        *,
        tap: str = 'stage_end',
        last_stride: int = 2,
        **kwargs: Any,
    ) -> None:
        super().__init__(arch, **kwargs)
        self.tap = self._check_tap(tap)
        if last_stride not in (1, 2):
            raise UserError(f'last_stride={last_stride} of RepViT: choose 1 or 2')
        self.last_stride = last_stride
        self.stem = build_stem(
            self.in_channels,
            self.arch['channels'][0],
            self.norm_cfg,
            self.act_cfg,
            bias=False,
            last_act=False,
        )
        self._build_stages(self.arch['blocks'])

    @property
    def strides(self) -> tuple[int, ...]:
        """Stride of each returned feature map, in pixels of the input."""
        return tuple(
            stride // 2 * self.last_stride if stage == LAST_STAGE else stride
            for stage, stride in zip(self.out_indices, super().strides)
        )

    def _build_stage(self, stage: int, rates: Sequence[float]) -> nn.Sequential:
        """A downsampling block (but in the first stage), then the others."""
        channels = self.arch['channels'][stage]
        both = (self.norm_cfg, self.act_cfg)
        layers: list[nn.Module] = []
        if stage > 0:
            before = self.arch['channels'][stage - 1]
            stride = self.last_stride if stage == LAST_STAGE else 2
            layers.append(RepViTDownsample(before, channels, *both, rates[0], stride))
        rest = rates[len(layers) :]
        for number, rate in enumerate(rest):
            # Every other block has it, but none has before a downsampling.
            with_se = number % 2 == 0 and (
                stage == LAST_STAGE or number < len(rest) - 1
            )
            layers.append(RepViTBlock(channels, *both, rate, with_se))
        if stage == self.built_stages[-1] and self._is_tapped_early(stage):
            layers.pop()
        return nn.Sequential(*layers)

    def _is_tapped_early(self, stage: int) -> bool:
        return self.tap == 'before_last' and stage < LAST_STAGE

    def _blocks_after_tap(self, stage: int) -> int:
        followed = stage < self.built_stages[-1]
        return int(followed and self._is_tapped_early(stage))

    def _check_tap(self, tap: str) -> str:
        if tap not in TAPS:
            raise UserError(
                f"unknown tap '{tap}' of RepViT: choose {' or '.join(TAPS)}"
            )
        if tap == 'before_last' and min(self.arch['blocks'][:LAST_STAGE]) < 2:
            raise UserError(
                "tap='before_last' needs at least two blocks in each of the first "
                f'three stages, but arch has {self.arch["blocks"]}'
            )
        return tap
