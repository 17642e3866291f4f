"""Squeeze-and-excitation: channels weighted by what the whole image holds."""

from __future__ import annotations

from torch import Tensor, nn


class SqueezeExcitation(nn.Module):
    """``x * sigmoid(expand(relu(reduce(global average of x))))``, arXiv 1709.01507.

    Both are 1x1 convolutions with bias.  The width between them is a quarter of
    the channels, to the nearest multiple of 8 and at least 8, as RepViT has it
    (published code).

    Args:
        channels: C of the input and the output.

    Shapes: (N, C, H, W) to the same.

    Example:
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
