"""Classification models by name, ours and other libraries', and how each is fused."""

from __future__ import annotations

from copy import deepcopy
from difflib import get_close_matches
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_eval

from dev.model_zoo.classifiers import MODEL_NAMES, Classifier, build_classifier
from mmrapidnet.deploy.fuse import fuse
from mmrapidnet.utils.errors import UserError

# What mmpretrain has only in another width: its name there, and what changes.
MMPRETRAIN_VARIANTS = {
    'mobilenetv2_x1_4': (
        'mobilenet-v2_8xb32_in1k',
        dict(backbone=dict(widen_factor=1.4), head=dict(in_channels=1792)),
    ),
}
_CONVS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


def build_model(name: str) -> nn.Module:
    """Build a classification model in evaluation mode, without trained weights.

    Its batch normalisations get random statistics and weights, as trained ones have
    other than 0 and 1.

    Args:
        name: One of ours such as 'rapidnet_ti' or 'repvit_m0_9', 'mobilenetv2_x1_4',
            or a name of another library's: 'timm:fastvit_t8',
            'mmpretrain:resnet50_8xb32_in1k'.

    Returns:
        From images (N, 3, H, W) to logits (N, 1000).

    Raises:
        UserError: If there is no such model, or its library is not installed.

    Examples:
        >>> model = build_model('repvit_m0_6')
        >>> tuple(model(torch.zeros(1, 3, 64, 64)).shape)
        (1, 1000)
    """
    library, _, rest = name.rpartition(':')
    if library == 'timm':
        model = _build_timm(rest)
    elif library == 'mmpretrain':
        model = _build_mmpretrain(rest)
    elif name in MMPRETRAIN_VARIANTS:
        base, changes = MMPRETRAIN_VARIANTS[name]
        model = _build_mmpretrain(base, **changes)
    elif name in MODEL_NAMES:
        model = build_classifier(name)
    else:
        raise UserError(
            f"unknown model '{name}': choose one of "
            f'{", ".join((*MODEL_NAMES, *MMPRETRAIN_VARIANTS))}, or give '
            "another library's as timm:NAME or mmpretrain:NAME"
        )
    return randomize_norms(model).eval()


def randomize_norms(model: nn.Module, seed: int = 0) -> nn.Module:
    """Give batch normalisations random statistics and weights, in place.

    Args:
        model: Any model.
        seed: Seed of the numbers. Defaults to 0.

    Returns:
        The model.
    """
    generator = torch.Generator().manual_seed(seed)
    for norm in model.modules():
        if not isinstance(norm, _BatchNorm):
            continue
        for tensor, low, high in (
            (norm.running_mean, -0.5, 0.5),
            (norm.running_var, 0.5, 1.5),
            (norm.weight, 0.5, 1.5),
            (norm.bias, -0.5, 0.5),
        ):
            if tensor is not None:
                tensor.data.uniform_(low, high, generator=generator)
    return model


def fuse_model(model: nn.Module, image: Tensor) -> nn.Module:
    """Fuse any classification model, so that none is slower for want of it.

    Ours and OpenMMLab's by `mmrapidnet.deploy.fuse`, timm's by timm; then every
    batch normalisation that alone reads a convolution is merged into it.

    Args:
        model: The model in evaluation mode; it is left as it is.
        image: Images to run it with, (N, 3, H, W).

    Returns:
        The fused copy.

    Raises:
        UserError: If the copy does not compute the same.
    """
    if isinstance(model, Classifier) or hasattr(model, 'data_preprocessor'):
        fused = fuse(model)
    elif find_spec('timm'):
        from timm.utils.model import reparameterize_model

        fused = reparameterize_model(model)
    else:
        fused = deepcopy(model)
    with torch.no_grad():
        expected = model(image)
        merge_norms(fused, image)
        error = (fused(image) - expected).abs().max() / expected.abs().max()
    if not error < 1e-3:
        raise UserError(
            f'{type(model).__name__} cannot be fused: the outputs differ by '
            f'{error:.1e} of the largest; leave the fused runtimes out'
        )
    return fused


def merge_norms(model: nn.Module, image: Tensor) -> int:
    """Merge batch normalisations into the convolutions that they read, in place.

    The pairs are found by running the model once, whatever its code looks like.

    Args:
        model: The model in evaluation mode; what else reads the convolutions gets
            normalised features, too: compare the outputs.
        image: Images to run it with, (N, 3, H, W).

    Returns:
        The number of pairs.
    """
    made: dict[int, tuple[nn.Module, Tensor]] = {}
    pairs: dict[nn.Module, nn.Module] = {}

    def look(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        if isinstance(module, _CONVS):
            # The tensor is kept so that no other gets its id.
            made[id(output)] = module, output
        elif id(inputs[0]) in made and module.running_mean is not None:
            pairs[module] = made[id(inputs[0])][0]

    hooks = [
        module.register_forward_hook(look)
        for module in model.modules()
        if isinstance(module, (*_CONVS, _BatchNorm))
    ]
    with torch.no_grad():
        model(image)
    for hook in hooks:
        hook.remove()
    names = {module: name for name, module in model.named_modules()}
    for norm, conv in pairs.items():
        merged = fuse_conv_bn_eval(conv, norm)
        conv.weight, conv.bias = merged.weight, merged.bias
        parent, _, name = names[norm].rpartition('.')
        setattr(model.get_submodule(parent), name, _what_remains(norm))
    return len(pairs)


def _what_remains(norm: nn.Module) -> nn.Module:
    """The activation after it, which timm's batch normalisations hold."""
    return getattr(norm, 'act', nn.Identity())


def _build_timm(name: str) -> nn.Module:
    _require('timm', f'timm:{name}')
    import timm

    if not timm.is_model(name):
        close = get_close_matches(name, timm.list_models())
        hint = f': did you mean {" or ".join(close)}?' if close else ''
        raise UserError(f"timm {timm.__version__} has no model '{name}'{hint}")
    return timm.create_model(name, pretrained=False)


def _build_mmpretrain(name: str, **changes: Any) -> nn.Module:
    _require('mmpretrain', name, 'mmrapidnet[cls]')
    from mmpretrain.apis import get_model, list_models

    names = list_models()
    if name not in names:
        close = get_close_matches(name, names)
        hint = f': did you mean {" or ".join(close)}?' if close else ''
        raise UserError(f"mmpretrain has no model '{name}'{hint}")
    return get_model(name, pretrained=False, device='cpu', **changes)


def _require(library: str, model: str, package: str | None = None) -> None:
    if find_spec(library) is None:
        raise UserError(
            f'{model} needs {library}, which is not installed: '
            f'pip install "{package or library}"'
        )
