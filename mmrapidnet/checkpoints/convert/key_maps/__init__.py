"""What is published: the kinds of files, and how they call our tensors."""

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
]
