"""Says in one line which data set cannot be read, or has no image left.

Reason:
    A damaged annotation file of a kind that the check before a run does not know, such
    as COCO's panoptic JSON or one of LVIS, ends in a traceback of the library. So does
    a data set whose images are all left out: numpy's "need at least one array".

Condition:
    None: no release does otherwise.  Errors in data sets of one's own are left as they
    are, for whoever writes them.

What it does:
    Raises a `UserError` that names the data set and the file or folder it reads.
"""

from collections.abc import Callable
from typing import Any

from mmrapidnet.compat.patching import wrap
from mmrapidnet.utils.errors import UserError, name_error

_LIBRARIES = ('mmdet.', 'mmpretrain.', 'mmseg.')


def apply() -> None:
    """Let ``BaseDataset`` name itself where it fails or nothing is left of it."""
    from mmengine.dataset import BaseDataset

    wrap(BaseDataset, '__init__', _init)
    wrap(BaseDataset, '_serialize_data', _serialize_data)


def _init(stock: Callable[..., None], dataset: Any, *args: Any, **kwargs: Any) -> None:
    if not type(dataset).__module__.startswith(_LIBRARIES):
        return stock(dataset, *args, **kwargs)
    try:
        stock(dataset, *args, **kwargs)
    except Exception as error:
        # An argument that there is none of: mmengine's traceback names it.
        if isinstance(error, UserError) or not hasattr(dataset, 'ann_file'):
            raise
        raise UserError(
            f'{_source_of(dataset)}: the {type(dataset).__name__} cannot read it: '
            f'{name_error(error)}'
        ) from error


def _serialize_data(stock: Callable[..., Any], dataset: Any) -> Any:
    if not dataset.data_list:
        raise UserError(
            f'{_source_of(dataset)}: no image left: the {type(dataset).__name__} reads '
            'none from it, or leaves all out (filter_cfg)'
        )
    return stock(dataset)


def _source_of(dataset: Any) -> str:
    return dataset.ann_file or dataset.data_root
