"""RapidNet's token mixer with deformable branches, of the paper's ablations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mmcv.cnn import build_activation_layer, build_norm_layer
from torch import Tensor, nn

from mmrapidnet.errors import UserError
from mmrapidnet.models.layers.dilated_mixer import DilatedMixer


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
