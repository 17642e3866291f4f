"""Detection's operators in float32 under a CPU's bfloat16 autocast.

Reason:
    mmcv's CPU kernels know float32 and float64 only: under bfloat16 autocast NMS,
    RoIAlign and deformable convolution fail with ``expected scalar type Float but
    found BFloat16``.  And mmdet's RoI extractors convert the boxes to the type
    of the features, where bfloat16 leaves 8 bits: at x = 1000 a step of 4 pixels.

Condition:
    ``AmpOptimWrapper`` is used on a CPU (`mmrapidnet.compat.amp` applies
    this patch); mmdet's part if mmdet's models are in use by then.

What it does:
    Converts what enters these operators from bfloat16 or float16 to float32.
"""

import sys
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from mmrapidnet.compat.patching import wrap

LOW_PRECISION = (torch.bfloat16, torch.float16)


def apply() -> None:
    """Let mmcv's operators and mmdet's RoI extractors compute in float32."""
    from mmengine.model.utils import mmcv_full_available

    if not mmcv_full_available():
        return
    from mmcv.ops.deform_conv import DeformConv2dFunction
    from mmcv.ops.modulated_deform_conv import ModulatedDeformConv2dFunction
    from mmcv.ops.nms import NMSop, SoftNMSop
    from mmcv.ops.roi_align import RoIAlignFunction

    operators = [NMSop, SoftNMSop, RoIAlignFunction]
    operators += [DeformConv2dFunction, ModulatedDeformConv2dFunction]
    if 'mmdet.models' in sys.modules:
        from mmdet.models.roi_heads import GenericRoIExtractor, SingleRoIExtractor

        operators += [SingleRoIExtractor, GenericRoIExtractor]
    for operator in operators:
        wrap(operator, 'forward', _forward)


def _forward(stock: Callable, context: Any, *args: Any, **kwargs: Any) -> Any:
    with torch.autocast('cpu', enabled=False):
        args = [_float32(item) for item in args]
        kwargs = {name: _float32(item) for name, item in kwargs.items()}
        return stock(context, *args, **kwargs)


def _float32(item: Any) -> Any:
    if isinstance(item, Tensor) and item.dtype in LOW_PRECISION:
        return item.float()
    if isinstance(item, (tuple, list)):
        return type(item)(_float32(part) for part in item)
    return item
