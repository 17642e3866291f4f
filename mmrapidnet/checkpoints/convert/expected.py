"""The names and shapes of what is to be filled, without the cost of the weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from mmengine.registry import MODELS, DefaultScope
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from mmrapidnet.checkpoints.convert.key_maps import (
    BACKBONE,
    CLASSIFIER,
    DenseModel,
    KeyMap,
)
from mmrapidnet.config.libraries import require_library
from mmrapidnet.config.load import load_config
from mmrapidnet.utils.errors import UserError

Shapes = dict[str, torch.Size]


def list_archs(key_map: KeyMap) -> list[str]:
    """The names of the family's archs, such as 'ti'."""
    return list(MODELS.get(key_map.backbone).arch_settings)


def backbone_shapes(key_map: KeyMap, arch: str) -> Shapes:
    """The tensors of a backbone.

    Args:
        key_map: The family's key map.
        arch: The arch.

    Returns:
        Name, under ``backbone.``, to shape.
    """
    return _shapes(_build(dict(type=key_map.backbone, arch=arch)), BACKBONE)


def classifier_shapes(
    key_map: KeyMap, arch: str, weights: dict[str, Tensor], source: str
) -> Shapes:
    """The tensors of a classifier, sized as those of a file.

    Args:
        key_map: The key map of the file.
        arch: The arch of the backbone.
        weights: The file's tensors.
        source: The file's name, for messages.

    Returns:
        Name to shape, the backbone's under ``backbone.`` and those of its top under
        ``head.classifier.``.

    Raises:
        UserError: If the file has no classifier.
    """
    backbone = _build(dict(type=key_map.backbone, arch=arch))
    sizes = {
        argument: _length(weights, name, source)
        for argument, name in key_map.classifier_sizes.items()
    }
    sizes['in_channels'] = backbone.out_channels[-1]
    top = _build(dict(type=key_map.classifier_type, **sizes))
    return {**_shapes(backbone, BACKBONE), **_shapes(top, CLASSIFIER)}


def dense_shapes(
    method: DenseModel,
    key_map: KeyMap,
    arch: str,
    weights: dict[str, Tensor],
    source: str,
    configs: str | Path,
) -> Shapes:
    """The tensors of a dense model, with as many classes as a file has.

    Args:
        method: The dense model.
        key_map: The key_map of the file.
        arch: The arch of the backbone.
        weights: The file's tensors.
        source: The file's name, for messages.
        configs: The folder of the project's configs.

    Returns:
        Name to shape.

    Raises:
        UserError: If there is no config for such a model, its library is not
            installed, or the file has no classifier.
    """
    path = Path(configs) / method.config_name(key_map.family, arch)
    if not path.is_file():
        pattern = method.config_name(key_map.family, '*')
        found = ', '.join(sorted(p.name for p in path.parent.glob(pattern)))
        raise UserError(
            f'{source} needs the config {path.name}, which {path.parent} has not '
            f'(of its kind: {found or "none"})'
        )
    cfg = load_config(str(path))
    if method.classifier is None:  # nor is it a model of a library
        return _shapes(_build(cfg.model))
    scope = require_library(cfg)
    classes = _length(weights, method.classifier, source) - method.background
    cfg.merge_from_dict(dict.fromkeys(method.num_classes, classes))
    with DefaultScope.overwrite_default_scope(scope):
        return _shapes(_build(cfg.model))


class _WithoutWeights(TorchFunctionMode):
    """Lets layers make their parameters without memory.

    A plain ``torch.device('meta')`` would also take the tensors that constructors
    compute with (rates of stochastic depth, anchors).
    """

    def __torch_function__(
        self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        if func is torch.empty:
            kwargs['device'] = 'meta'
        return func(*args, **kwargs)


def _build(cfg: dict[str, Any]) -> nn.Module:
    with _WithoutWeights():
        return MODELS.build(cfg)


def _shapes(module: nn.Module, prefix: str = '') -> Shapes:
    return {prefix + name: v.shape for name, v in module.state_dict().items()}


def _length(weights: dict[str, Tensor], name: str, source: str) -> int:
    if name not in weights or weights[name].ndim == 0:
        raise UserError(f'{source} cannot be converted: it has no classifier ({name})')
    return weights[name].shape[0]
