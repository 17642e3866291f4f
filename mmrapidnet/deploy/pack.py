"""A fused model for PyTorch on a CPU: packed weights, activations in the same pass.

Out of the box PyTorch lays out the weights of a convolution anew in each call, takes
a slow implementation for small feature maps, and reads and writes every feature map a
second time for its activation.  oneDNN, which PyTorch brings for `torch.compile`, does
better, and needs no compiler.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from functools import singledispatch
from itertools import pairwise
from typing import Any

import torch
from mmcv.cnn import ConvModule
from torch import Tensor, nn

from mmrapidnet.errors import UserError

# What oneDNN calls the activations it can apply, and its variant of each.
_ACTIVATIONS = {nn.GELU: ('gelu', 'none'), nn.ReLU: ('relu', '')}
_NO_ACTIVATION = ('none', '')


class PackedConv2d(nn.Module):
    """A convolution with its weights in oneDNN's layout, and the activation after it.

    Gives channels-last feature maps, whatever comes in.  It cannot be trained, saved
    or exported.

    Args:
        conv: The convolution, float32 on the CPU.
        input_size: (N, C, H, W) that the layout is chosen for; any other works.
        activation: 'none', 'gelu' or 'relu' and oneDNN's variant of it. Defaults to
            none.
    """

    def __init__(
        self,
        conv: nn.Conv2d,
        input_size: tuple[int, ...],
        activation: tuple[str, str] = _NO_ACTIVATION,
    ) -> None:
        super().__init__()
        self.geometry = (conv.padding, conv.stride, conv.dilation, conv.groups)
        self.weight = torch._C._nn.mkldnn_reorder_conv2d_weight(
            conv.weight.detach().to_mkldnn(), *self.geometry, input_size
        )
        self.bias = None if conv.bias is None else conv.bias.detach()
        self.activation, self.variant = activation

    def forward(self, x: Tensor) -> Tensor:
        """From (N, C, H, W) to the convolution's shape."""
        return torch.ops.mkldnn._convolution_pointwise(
            x.contiguous(memory_format=torch.channels_last),
            self.weight,
            self.bias,
            *self.geometry,
            self.activation,
            [],
            self.variant,
        )


def pack(model: nn.Module, run: Callable[[nn.Module], Any]) -> nn.Module:
    """Copy a fused model with all its convolutions packed.

    Args:
        model: A model in evaluation mode, float32, on the CPU, as a rule fused by
            `mmrapidnet.deploy.fuse`; it is left as it is.
        run: Calls the model that it is given once, on input of the size that counts.
            Convolutions it does not reach stay as they are.

    Returns:
        The copy. It computes the same but for rounding.

    Raises:
        UserError: If the model is in training mode, not in float32 on the CPU, or
            this PyTorch has no oneDNN.

    Example:
        >>> model = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.GELU()).eval()
        >>> image = torch.ones(1, 3, 16, 16)
        >>> packed = pack(model, lambda module: module(image))
        >>> torch.allclose(packed(image), model(image), atol=1e-5)
        True
    """
    _check(model)
    packed = deepcopy(model)
    sizes = _record_sizes(packed, run)
    for parent in list(packed.modules()):
        _pack_children(parent, sizes)
    return packed


@singledispatch
def _pack_children(parent: nn.Module, sizes: dict[nn.Module, tuple[int, ...]]) -> None:
    """Replace the convolutions that are direct children of a module."""
    for name, conv in _reached_convs(parent, sizes):
        setattr(parent, name, PackedConv2d(conv, sizes[conv]))


@_pack_children.register
def _(parent: nn.Sequential, sizes: dict[nn.Module, tuple[int, ...]]) -> None:
    children = list(parent.named_children())
    following = {name: after for (name, _), after in pairwise(children)}
    for name, conv in _reached_convs(parent, sizes):
        after, layer = following.get(name, (None, None))
        activation = _activation_of(layer)
        setattr(parent, name, PackedConv2d(conv, sizes[conv], activation))
        if activation is not _NO_ACTIVATION:
            setattr(parent, after, nn.Identity())


@_pack_children.register
def _(parent: ConvModule, sizes: dict[nn.Module, tuple[int, ...]]) -> None:
    activation = _NO_ACTIVATION
    last = parent.order[-1] == 'act' and not (
        parent.with_norm and not isinstance(parent.norm, nn.Identity)
    )
    if parent.with_activation and last and parent.conv in sizes:
        activation = _activation_of(parent.activate)
    for name, conv in _reached_convs(parent, sizes):
        setattr(parent, name, PackedConv2d(conv, sizes[conv], activation))
        if activation is not _NO_ACTIVATION:
            parent.activate = nn.Identity()


def _reached_convs(
    parent: nn.Module, sizes: dict[nn.Module, tuple[int, ...]]
) -> list[tuple[str, nn.Conv2d]]:
    return [(name, child) for name, child in parent.named_children() if child in sizes]


def _activation_of(layer: nn.Module | None) -> tuple[str, str]:
    """What oneDNN calls an activation; none for another layer."""
    if isinstance(layer, nn.GELU) and layer.approximate != 'none':
        return _NO_ACTIVATION
    return _ACTIVATIONS.get(type(layer), _NO_ACTIVATION)


def _record_sizes(
    model: nn.Module, run: Callable[[nn.Module], Any]
) -> dict[nn.Module, tuple[int, ...]]:
    """The largest input of each convolution in one run."""
    sizes: dict[nn.Module, tuple[int, ...]] = {}

    def look(conv: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        size, known = inputs[0].shape, sizes.get(conv)
        if known is None or size.numel() > known.numel():
            sizes[conv] = size

    hooks = [
        module.register_forward_pre_hook(look)
        for module in model.modules()
        if type(module) is nn.Conv2d and module.padding_mode == 'zeros'
    ]
    with torch.no_grad():
        run(model)
    for hook in hooks:
        hook.remove()
    return {conv: size for conv, size in sizes.items() if size.numel()}


def _check(model: nn.Module) -> None:
    name = type(model).__name__
    if model.training:
        raise UserError(f'{name} is in training mode: call its eval() first')
    if not torch.backends.mkldnn.is_available():
        raise UserError('this PyTorch has no oneDNN (mkldnn): use the fused model')
    other = next(
        (p for p in model.parameters() if p.dtype != torch.float32 or p.is_cuda), None
    )
    if other is not None:
        raise UserError(
            f'{name} has parameters in {other.dtype} on {other.device}: packing is for '
            'torch.float32 on the cpu'
        )
