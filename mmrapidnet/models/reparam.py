"""Structural re-parameterisation: in evaluation, what is linear in a row is one layer.

All the algebra is here; the layers do not know of it.  Sources: batch normalisation
into the convolution before it, parallel branches and the identity into one kernel
(RepVGG, arXiv 2101.03697; RepViT, arXiv 2307.09283, section 3.2), layer scale into
the projection it scales.
"""

from __future__ import annotations

import warnings
from collections import OrderedDict, defaultdict
from functools import singledispatch
from itertools import pairwise

import torch
from mmcv.cnn import ConvModule
from torch import Tensor, nn
from torch.nn.functional import pad
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_weights

from mmrapidnet.models.backbones.mobilevig import GraphMixer
from mmrapidnet.models.backbones.rapidnet import (
    ConditionalPositionEncoding,
    DeformConvNormAct,
    DilatedMixer,
)
from mmrapidnet.models.backbones.repvit import RepDepthwise
from mmrapidnet.models.layers import (
    ConvNormAct,
    DistilledClassifier,
    DistilledLinearClassifier,
    Residual,
    ScaledResidual,
)

_CONVS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


class ChannelShift(nn.Module):
    """``x + shift``, one number per channel: what a convolution without bias lacks.

    Args:
        shift: (C,).
    """

    def __init__(self, shift: Tensor) -> None:
        super().__init__()
        self.shift = nn.Parameter(shift.reshape(-1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """From (N, C, H, W) to the same shape."""
        return x + self.shift


def reparameterize(module: nn.Module) -> nn.Module:
    """Merge in a module, and in everything in it, what is linear in a row; in place.

    Batch normalisations are read as in evaluation, with their running statistics.
    Other normalisations stay.  A layer that several modules share is merged once, and
    left as it is where each of them would merge something else into it, as where heads
    on several levels share convolutions but not normalisations.

    Args:
        module: Any module, reparameterised already or not.

    Returns:
        The module, or the one that takes its place.

    Examples:
        >>> layer = ConvNormAct(4, 4, 3, norm_cfg=dict(type='BN'))
        >>> [name for name, _ in reparameterize(layer).named_children()]
        ['conv']
    """
    return _Reparameterization(module).replace(module)


def fold_all(module: nn.Module) -> nn.Module:
    """The old name of `reparameterize`."""
    message = 'fold_all is called reparameterize now'
    warnings.warn(message, FutureWarning, stacklevel=2)
    return reparameterize(module)


class _Reparameterization:
    """The reparameterisation of one model."""

    def __init__(self, model: nn.Module) -> None:
        # The modules that hold a module, before anything is merged; one that holds it
        # under two names is there twice.
        self.parents: dict[nn.Module, list[nn.Module]] = defaultdict(list)
        for parent in model.modules():
            for child in parent._modules.values():
                self.parents[child].append(parent)
        # What took the place of the modules visited.
        self.replaced: dict[nn.Module, nn.Module] = {}

    def replace(self, module: nn.Module) -> nn.Module:
        """Reparameterise a module and everything in it, once.

        Returns:
            What takes its place in each of its parents.
        """
        if module not in self.replaced:
            # Not named_children(), which passes over a second name of a child.
            for name, child in list(module._modules.items()):
                if child is not None and self.replace(child) is not child:
                    setattr(module, name, self.replace(child))
            self.replaced[module] = _reparameterize(module, self)
        return self.replaced[module]

    def owns(self, module: nn.Module, part: nn.Module) -> bool:
        """Whether a part of a module is of no other."""
        while part is not module:
            if len(self.parents[part]) != 1:
                return False
            (part,) = self.parents[part]
        return True

    def merge(self, module: nn.Module, conv: nn.Module, norm: nn.Module | None) -> bool:
        """Merge a normalisation of a module into the convolution before it.

        Returns:
            Whether it is: not where it is nonlinear or the convolution is another
            module's, too.
        """
        merges = _is_linear(norm) and self.owns(module, conv)
        if merges:
            _merge_norm(conv, norm)
        return merges


@singledispatch
def _reparameterize(module: nn.Module, reparam: _Reparameterization) -> nn.Module:
    """What takes the place of a module whose children are reparameterised."""
    return module


@_reparameterize.register
def _(module: ConvNormAct, reparam: _Reparameterization) -> nn.Module:
    if reparam.merge(module, module.conv, getattr(module, 'norm', None)):
        del module.norm
    return module


@_reparameterize.register
def _(module: ConvModule, reparam: _Reparameterization) -> nn.Module:
    in_order = module.order.index('conv') + 1 == module.order.index('norm')
    if (
        module.with_norm
        and in_order
        and isinstance(module.conv, _CONVS)
        and not module.with_spectral_norm
        and reparam.merge(module, module.conv, module.norm)
    ):
        setattr(module, module.norm_name, nn.Identity())
    return module


@_reparameterize.register
def _(module: nn.Sequential, reparam: _Reparameterization) -> nn.Module:
    for (_, conv), (name, norm) in pairwise(list(module._modules.items())):
        if isinstance(conv, _CONVS) and reparam.merge(module, conv, norm):
            setattr(module, name, nn.Identity())
    return module


@_reparameterize.register
def _(module: DeformConvNormAct, reparam: _Reparameterization) -> nn.Module:
    if _is_linear(module.norm) and reparam.owns(module, module.conv):
        weight, shift = _merged(module.conv.weight, None, module.norm)
        module.conv.weight = weight
        module.norm = ChannelShift(shift.detach())
    return module


@_reparameterize.register
def _(module: ConditionalPositionEncoding, reparam: _Reparameterization) -> nn.Module:
    conv = module.conv
    if not reparam.owns(module, conv):
        return module
    conv.weight = nn.Parameter(conv.weight + _identity(conv))
    return conv


@_reparameterize.register
def _(module: RepDepthwise, reparam: _Reparameterization) -> nn.Module:
    conv, pointwise = module.depthwise.conv, module.pointwise
    if not (_is_linear(module.norm) and reparam.owns(module, conv)):
        return module
    around = conv.kernel_size[0] // 2
    kernel = conv.weight + pad(pointwise.weight, [around] * 4)
    conv.weight = nn.Parameter(kernel + _identity(conv))
    conv.bias = nn.Parameter(conv.bias + pointwise.bias)
    _merge_norm(conv, module.norm)
    return conv


@_reparameterize.register
def _(module: ScaledResidual, reparam: _Reparameterization) -> nn.Module:
    conv = _last_conv(module.branch)
    if conv is None or not reparam.owns(module, conv):
        return module
    scale = module.scale.flatten()
    conv.weight = nn.Parameter(conv.weight * scale.reshape(-1, 1, 1, 1))
    if conv.bias is not None:
        conv.bias = nn.Parameter(conv.bias * scale)
    return Residual(module.branch)


@_reparameterize.register
def _(module: DistilledClassifier, reparam: _Reparameterization) -> nn.Module:
    head, other = module.head, module.dist_head
    if not reparam.owns(module, head):
        return module
    head.weight = nn.Parameter((head.weight + other.weight) / 2)
    head.bias = nn.Parameter((head.bias + other.bias) / 2)
    return nn.Sequential(
        OrderedDict(
            pool=module.pool, hidden=module.hidden, head=head, flatten=nn.Flatten()
        )
    )


@_reparameterize.register
def _(module: DistilledLinearClassifier, reparam: _Reparameterization) -> nn.Module:
    head = module.head
    if not reparam.owns(module, head):
        return module
    weight, bias = _norm_into_linear(module.norm, head)
    other_weight, other_bias = _norm_into_linear(module.dist_norm, module.dist_head)
    head.weight = nn.Parameter((weight + other_weight) / 2)
    head.bias = nn.Parameter((bias + other_bias) / 2)
    return nn.Sequential(
        OrderedDict(pool=nn.AdaptiveAvgPool2d(1), flatten=nn.Flatten(), head=head)
    )


def _is_linear(norm: nn.Module | None) -> bool:
    """Whether a normalisation is linear in evaluation, by its own statistics."""
    return isinstance(norm, _BatchNorm) and norm.running_mean is not None


def _merge_norm(conv: nn.Module, norm: _BatchNorm) -> None:
    conv.weight, conv.bias = _merged(conv.weight, conv.bias, norm)


def _merged(
    weight: Tensor, bias: Tensor | None, norm: _BatchNorm
) -> tuple[nn.Parameter, nn.Parameter]:
    return fuse_conv_bn_weights(
        weight,
        bias,
        norm.running_mean,
        norm.running_var,
        norm.eps,
        norm.weight,
        norm.bias,
    )


def _norm_into_linear(norm: _BatchNorm, linear: nn.Linear) -> tuple[Tensor, Tensor]:
    """Weight and bias of one layer for a normalisation and a linear layer after it."""
    scale = norm.weight * (norm.running_var + norm.eps).rsqrt()
    shift = norm.bias - norm.running_mean * scale
    return linear.weight * scale, linear.bias + linear.weight @ shift


def _identity(conv: nn.Conv2d) -> Tensor:
    """The kernel with which a convolution would change nothing."""
    return nn.init.dirac_(torch.empty_like(conv.weight), conv.groups)


def _last_conv(module: nn.Module) -> nn.Conv2d | None:
    """The convolution whose output is a module's output; None if there is no such."""
    if isinstance(module, nn.Conv2d):
        return module
    if isinstance(module, (DilatedMixer, GraphMixer)):
        return _last_conv(module.proj_out)
    if isinstance(module, nn.Sequential):
        return _last_conv(module[-1])
    return None
