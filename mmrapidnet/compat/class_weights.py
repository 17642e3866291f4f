"""mmsegmentation's cross-entropy with class weights where pixels have no class.

Reason:
    ``CrossEntropyLoss(class_weight=...)`` looks up the weight of every label, also of
    those that it ignores: with 255 in a label map training ends with ``IndexError:
    index 255 is out of bounds``.

Condition:
    The loss averages over the weights of its labels.

What it does:
    Averages over the weights of the labels that count, as PyTorch's cross-entropy does.
"""

from collections.abc import Callable
from types import ModuleType
from typing import Any

from torch import Tensor

from mmrapidnet.compat.patching import when_imported, wrap


def apply() -> None:
    """Leave ignored labels out of the average."""
    when_imported('mmseg.models.losses.cross_entropy_loss', _patch)


def _patch(module: ModuleType) -> None:
    wrap(module, 'cross_entropy', _cross_entropy)


def _cross_entropy(
    stock: Callable[..., Tensor],
    pred: Tensor,
    label: Tensor,
    weight: Tensor | None = None,
    class_weight: Tensor | None = None,
    reduction: str = 'mean',
    avg_factor: Any = None,
    ignore_index: int = -100,
    **options: Any,
) -> Tensor:
    if class_weight is not None and avg_factor is None and reduction == 'mean':
        avg_factor = class_weight[label[label != ignore_index]].sum()
    return stock(
        pred,
        label,
        weight=weight,
        class_weight=class_weight,
        reduction=reduction,
        avg_factor=avg_factor,
        ignore_index=ignore_index,
        **options,
    )
