"""Backbones, registered in mmengine's root registry `MODELS`."""

from mmrapidnet.models.backbones.base import BaseBackbone
from mmrapidnet.models.backbones.mobilevig import MobileViG
from mmrapidnet.models.backbones.rapidnet import RapidNet
from mmrapidnet.models.backbones.repvit import RepViT

__all__ = ['BaseBackbone', 'MobileViG', 'RapidNet', 'RepViT']
