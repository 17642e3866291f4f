"""Building blocks, one idea a file.  No block knows a backbone."""

from mmrapidnet.models.layers.classifier import (
    DistilledClassifier,
    DistilledLinearClassifier,
)
from mmrapidnet.models.layers.conv import ConvNormAct, build_stem
from mmrapidnet.models.layers.deformable_mixer import DeformableMixer, OffsetConv
from mmrapidnet.models.layers.dilated_mixer import (
    ConditionalPositionEncoding,
    DilatedMixer,
)
from mmrapidnet.models.layers.feed_forward import FeedForward, LargeKernelFFN
from mmrapidnet.models.layers.graph_mixer import GraphMixer
from mmrapidnet.models.layers.inverted_residual import InvertedResidual, LocalBlock
from mmrapidnet.models.layers.rep_depthwise import RepDepthwise
from mmrapidnet.models.layers.residual import Residual, ScaledResidual
from mmrapidnet.models.layers.squeeze_excitation import SqueezeExcitation

__all__ = [
    'ConditionalPositionEncoding',
    'ConvNormAct',
    'DeformableMixer',
    'DilatedMixer',
    'DistilledClassifier',
    'DistilledLinearClassifier',
    'FeedForward',
    'GraphMixer',
    'InvertedResidual',
    'LargeKernelFFN',
    'LocalBlock',
    'OffsetConv',
    'RepDepthwise',
    'Residual',
    'ScaledResidual',
    'SqueezeExcitation',
    'build_stem',
]
