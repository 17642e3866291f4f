"""The package that mmdet reads and measures panoptic annotations with."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

from mmengine.config import Config

from mmrapidnet.config.evaluators import list_metrics
from mmrapidnet.config.load import iter_datasets
from mmrapidnet.config.type_names import type_name
from mmrapidnet.utils.errors import UserError

# What raises an ImportError without it, minutes into a run.
_IN_NEED = ('LoadPanopticAnnotations', 'CocoPanopticMetric')


def require_panopticapi(cfg: Config, dataloaders: list[str]) -> None:
    """Raise unless panopticapi is installed, or a config does without it.

    Args:
        cfg: The config of a run.
        dataloaders: Names of the dataloaders that will be used.

    Raises:
        UserError: If it is needed and missing.
    """
    if find_spec('panopticapi') is not None:
        return
    for dataloader in dataloaders:
        for part in _list_parts(cfg, dataloader):
            if type_name(part) in _IN_NEED:
                raise UserError(
                    f'the {type_name(part)} of {cfg.filename} needs panopticapi, which '
                    'is not installed: pip install '
                    'git+https://github.com/cocodataset/panopticapi.git'
                )


def _list_parts(cfg: Config, dataloader: str) -> Iterator[dict[str, Any]]:
    """The transforms of the data sets of a dataloader, and its metrics."""
    for dataset in iter_datasets(cfg.get(dataloader)):
        yield from dataset.get('pipeline') or []
    yield from list_metrics(cfg.get(dataloader.replace('dataloader', 'evaluator')))
