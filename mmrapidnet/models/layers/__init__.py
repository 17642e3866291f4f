"""Building blocks, one idea a file.  No block knows a backbone."""

from mmrapidnet.models.layers.classifier import DistilledClassifier
from mmrapidnet.models.layers.conv import ConvNormAct, build_stem
from mmrapidnet.models.layers.dilated_mixer import (
    ConditionalPositionEncoding,
    DilatedMixer,
)
from mmrapidnet.models.layers.inverted_residual import InvertedResidual
from mmrapidnet.models.layers.large_kernel_ffn import LargeKernelFFN
from mmrapidnet.models.layers.residual import ScaledResidual

__all__ = [
    'ConditionalPositionEncoding',
    'ConvNormAct',
    'DilatedMixer',
    'DistilledClassifier',
    'InvertedResidual',
    'LargeKernelFFN',
    'ScaledResidual',
    'build_stem',
]
