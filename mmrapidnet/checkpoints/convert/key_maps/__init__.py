"""What is published: the kinds of files, and how they call our tensors."""

from __future__ import annotations

from collections.abc import Iterable

from mmrapidnet.checkpoints.convert.key_maps.dense_models import (
    DENSE_MODELS,
    DenseModel,
)
from mmrapidnet.checkpoints.convert.key_maps.key_map import BACKBONE, CLASSIFIER, KeyMap
from mmrapidnet.checkpoints.convert.key_maps.mobilevig import MOBILEVIG
from mmrapidnet.checkpoints.convert.key_maps.rapidnet import RAPIDNET
from mmrapidnet.checkpoints.convert.key_maps.repvit import REPVIT, TIMM_REPVIT

# MobileViG before RapidNet, whose signature, the stem, both have.
AUTHORS = (MOBILEVIG, RAPIDNET, REPVIT)

__all__ = [
    'AUTHORS',
    'BACKBONE',
    'CLASSIFIER',
    'DENSE_MODELS',
    'TIMM_REPVIT',
    'DenseModel',
    'KeyMap',
    'published_keys',
]


def published_keys(model: str, names: Iterable[str]) -> dict[str, str]:
    """How the authors' classification file calls the tensors of one of our models.

    Args:
        model: The model's name, such as 'rapidnet_s', or its family's alone.
        names: The names of all tensors of the classifier: the backbone's under
            ``backbone.``, those of its top under ``head.classifier.``.

    Returns:
        The published name of each.

    Raises:
        KeyError: If the published network has no such family or tensor.

    Examples:
        >>> published_keys('repvit_m0_9', ['backbone.stem.0.conv.weight'])
        {'backbone.stem.0.conv.weight': 'features.0.0.c.weight'}
    """
    key_maps = {key_map.family: key_map for key_map in AUTHORS}
    return key_maps[model.partition('_')[0]].published_keys(names)
