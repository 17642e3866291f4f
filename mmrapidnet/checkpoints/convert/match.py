"""Find the model that a published file fits, tensor for tensor."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from mmrapidnet.checkpoints.convert.detect import Kind
from mmrapidnet.checkpoints.convert.expected import (
    Shapes,
    backbone_shapes,
    classifier_shapes,
    dense_shapes,
    list_archs,
)
from mmrapidnet.checkpoints.convert.key_maps import AUTHORS
from mmrapidnet.checkpoints.state_dict import Mismatch, compare
from mmrapidnet.utils.errors import UserError


def check_model(model: str | None) -> None:
    """Raise if there is no model of that name.

    Args:
        model: Name of a model, or None.

    Raises:
        UserError: With the names there are.
    """
    known = [f'{item.family}_{arch}' for item in AUTHORS for arch in list_archs(item)]
    if model is not None and model not in known:
        raise UserError(f'unknown model {model}: choose one of {", ".join(known)}')


def match(
    kind: Kind,
    weights: dict[str, Tensor],
    model: str | None,
    source: str,
    configs: str | Path,
) -> tuple[str, dict[str, str]]:
    """Find the model and which tensor is which.

    Args:
        kind: What the file is.
        weights: Its tensors.
        model: The model that is expected, if any.
        source: The file's name, for messages.
        configs: The folder of the project's configs, for dense models.

    Returns:
        The model's name, and our names of its tensors with the published ones: all
        of the model and all of the file.

    Raises:
        UserError: Naming the first few tensors that keep the file from fitting.
    """
    key_map = kind.key_map
    arch, shapes = _find_arch(kind, weights, model, source)
    if kind.dense_model:
        shapes = dense_shapes(kind.dense_model, key_map, arch, weights, source, configs)
    names = kind.published_keys(shapes)
    mismatch = _compare(shapes, names, weights)
    if mismatch.total:
        raise UserError(f'{source} is a {kind}, but does not fit our model: {mismatch}')
    return f'{key_map.family}_{arch}', names


def _find_arch(
    kind: Kind, weights: dict[str, Tensor], model: str | None, source: str
) -> tuple[str, Shapes]:
    """The arch of the family that a classifier, or a dense model's backbone, fits."""
    key_map = kind.key_map
    own = {name: v for name, v in weights.items() if kind.is_of_backbone(name)}
    candidates = {}
    for arch in [_check_family(kind, model, source)] if model else list_archs(key_map):
        if kind.dense_model:
            shapes = backbone_shapes(key_map, arch)
        else:
            shapes = classifier_shapes(key_map, arch, weights, source)
        names = kind.published_keys(shapes)
        candidates[arch] = shapes, _compare(shapes, names, own)
    closest = min(candidates, key=lambda arch: candidates[arch][1].total)
    shapes, mismatch = candidates[closest]
    if mismatch.total:
        of = model or f'any model; closest is {key_map.family}_{closest}'
        raise UserError(f'{source} is a {kind}, but does not fit {of}: {mismatch}')
    return closest, shapes


def _check_family(kind: Kind, model: str, source: str) -> str:
    family, _, arch = model.partition('_')
    if family != kind.key_map.family:
        raise UserError(
            f'--model {model}: {source} is a {kind}; choose one of '
            + ', '.join(f'{kind.key_map.family}_{a}' for a in list_archs(kind.key_map))
            + ', or leave the option out'
        )
    return arch


def _compare(
    shapes: Shapes, names: dict[str, str], weights: dict[str, Tensor]
) -> Mismatch:
    """What keeps a file from fitting a model, in published names."""
    return compare({names[ours]: shape for ours, shape in shapes.items()}, weights)
