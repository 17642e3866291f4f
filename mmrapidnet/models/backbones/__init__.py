"""Backbones, registered in mmengine's root registry `MODELS`."""

from mmrapidnet.models.backbones.pyramid import PyramidBackbone
from mmrapidnet.models.backbones.rapidnet import RapidNet

__all__ = ['PyramidBackbone', 'RapidNet']
