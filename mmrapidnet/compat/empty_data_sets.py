"""Says which data set has no image left.

Reason:
    A data set without an image, such as one of Pascal VOC whose list is empty or whose
    images are all left out, ends in numpy's "need at least one array to concatenate".

Condition:
    None: no release does otherwise.  The check before a run says more of the kinds of
    data sets that it knows.

What it does:
    Raises a `UserError` that names the data set and the file or folder it reads.
"""

from collections.abc import Callable
from typing import Any

from mmrapidnet.compat.patching import wrap
from mmrapidnet.utils.errors import UserError


def apply() -> None:
    """Let ``BaseDataset`` name itself where nothing is left of it."""
    from mmengine.dataset import BaseDataset

    wrap(BaseDataset, '_serialize_data', _serialize_data)


def _serialize_data(stock: Callable[..., Any], dataset: Any) -> Any:
    if not dataset.data_list:
        raise UserError(
            f'{dataset.ann_file or dataset.data_root}: no image left: the '
            f'{type(dataset).__name__} reads none from it, or leaves all out '
            '(filter_cfg)'
        )
    return stock(dataset)
