"""Gives mmcv's operators feature maps in the order in memory that they read.

Reason:
    RoIAlign and other kernels of mmcv read a tensor's memory as NCHW, whatever its
    strides say. Of feature maps that are NHWC in memory (``channels_last``, as with
    ``--fast``) they take the values of other places, without a word: a detector then
    hardly learns.

Condition:
    None: no release does otherwise.

What it does:
    Lays tensors that enter an operator, forward or backward, out in their own order.
"""

from collections.abc import Callable
from types import ModuleType
from typing import Any

from torch import Tensor
from torch.autograd import Function

from mmrapidnet.compat.patching import when_imported, wrap


def apply() -> None:
    """Let every differentiable operator of mmcv get contiguous tensors."""
    when_imported('mmcv.ops', _patch)


def _patch(ops: ModuleType) -> None:
    for operator in Function.__subclasses__():
        if operator.__module__.startswith(f'{ops.__name__}.'):
            for name in {'forward', 'backward'} & vars(operator).keys():
                wrap(operator, name, _call)


def _call(stock: Callable[..., Any], context: Any, *args: Any) -> Any:
    return stock(context, *(_contiguous(item) for item in args))


def _contiguous(item: Any) -> Any:
    return item.contiguous() if isinstance(item, Tensor) else item
