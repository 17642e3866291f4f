"""Parameters and multiply-accumulates, counted as the papers count them."""

from __future__ import annotations

from copy import deepcopy
from math import prod
from typing import Any

import torch
from mmengine.analysis import FlopAnalyzer
from torch import Tensor, nn

# Operators of PyTorch's own that cost something and have no count: no figure is given
# of what calls them.
_UNCOUNTED = {
    'aten::_native_multi_head_attention',
    'aten::_transformer_encoder_layer_fwd',
    'aten::cdist',
    'aten::gru',
    'aten::lstm',
}


def count_parameters(module: nn.Module) -> int:
    """Count the parameters of a module, trained or frozen.

    Args:
        module: Any module.

    Returns:
        Their number.

    Examples:
        >>> count_parameters(nn.Conv2d(3, 8, 3))
        224
    """
    return sum(parameter.numel() for parameter in module.parameters())


def count_macs(
    module: nn.Module, size: tuple[int, int], in_channels: int = 3
) -> int | None:
    """Count the multiply-accumulates of a module for one image, in evaluation.

    As the papers' figures: convolutions, linear layers, products of matrices (those of
    attention included), two for each element of a batch normalisation, one for each
    element that is averaged and four for each that is interpolated; activations, sums
    and copies are free.

    Args:
        module: A module that takes images; it is left as it is.
        size: Height and width of the image in pixels.
        in_channels: Channels of the image. Defaults to 3.

    Returns:
        Their number.  None if the module calls an operator that is not PyTorch's
        own, such as mmcv's deformable convolution: nobody has said what its
        sampling is to count, and to leave it out would be wrong.

    Examples:
        >>> count_macs(nn.Conv2d(3, 8, 3, padding=1, bias=False), size=(10, 20))
        43200
    """
    module = deepcopy(module).eval()
    device = next(module.parameters()).device
    image = torch.zeros(1, in_channels, *size, device=device)
    counter = analyze(module, image)
    return None if list_uncounted(counter) else int(counter.total())


def analyze(module: nn.Module, image: Tensor) -> FlopAnalyzer:
    """Run a module once and count what each part of it computes.

    Args:
        module: The module, in evaluation mode.
        image: What it is given, (1, C, H, W).

    Returns:
        The counts, see `mmengine.analysis.FlopAnalyzer`.
    """
    counter = FlopAnalyzer(module, (image,))
    counter.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
    counter.set_op_handle(
        'aten::scaled_dot_product_attention', _count_attention
    ).set_op_handle('aten::baddbmm', _count_baddbmm)
    with torch.no_grad():
        counter.total()
    return counter


def list_uncounted(counter: FlopAnalyzer, part: str = '') -> list[str]:
    """List the operators that cost something and are not counted.

    Args:
        counter: What `analyze` gave.
        part: The name of a module in the one that was counted. Defaults to '': all.

    Returns:
        Their names, of PyTorch's own only those that are not free.
    """
    return sorted(
        operator
        for operator in counter.unsupported_ops(part)
        if operator in _UNCOUNTED or not operator.startswith('aten::')
    )


def _count_attention(inputs: list[Any], outputs: list[Any]) -> int:
    """Two products of matrices: queries and keys, and their weights and the values."""
    queries, keys, values = (value.type().sizes() for value in inputs[:3])
    return prod(queries[:-1]) * keys[-2] * (queries[-1] + values[-1])


def _count_baddbmm(inputs: list[Any], outputs: list[Any]) -> int:
    """A product of matrices, to which another one is added."""
    first, second = (value.type().sizes() for value in inputs[1:3])
    return prod(first) * second[-1]
