"""Point any config of ours at Shapes: its model, trained and tested as Shapes is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmengine.config import Config

from mmrapidnet.config.load import DATALOADERS, load_config
from mmrapidnet.config.type_names import type_name
from mmrapidnet.utils.errors import UserError

# Scope of a config: the config that knows Shapes, and the layout it reads.
_DONORS = {
    'mmdet': ('maskrcnn_rapidnet_ti_shapes.py', 'coco'),
    'mmseg': ('semfpn_rapidnet_ti_shapes.py', 'ade'),
}
# What belongs to the model and to the run rather than to the data.
_KEPT = {
    'custom_imports',
    'default_scope',
    'find_unused_parameters',
    'load_from',
    'model',
    'model_wrapper_cfg',
    'sync_bn',
    'work_dir',
}
# They have a mask head inside.
_WITH_MASKS = ('RTMDetInsHead', 'RTMDetInsSepBNHead')


def point_at_shapes(cfg: Config, root: str | Path, configs: str | Path) -> None:
    """Train and test the model of a config on Shapes instead of its own data.

    Of the config stay the model, with as many classes as Shapes has in every head,
    and what building it needs.  Data, metrics, optimizer, schedule, loops and hooks
    become those of the Shapes config of the same library; without a ``work_dir`` of
    its own the run goes to ``work_dirs/<name of the config>_on_shapes``.

    Frozen batch normalisation trains: a run from random weights has no statistics
    worth keeping, and without any the features of a deep backbone overflow.

    Args:
        cfg: The config of a detector or of a semantic segmenter, changed in place.
        root: What `tools/make_shapes.py` wrote.
        configs: The folder of the project's configs.

    Raises:
        UserError: If Shapes has no annotations for such a model.
    """
    scope = cfg.get('default_scope')
    model = cfg.get('model', {})
    metrics = _list_metrics(model)
    if scope not in _DONORS or (scope == 'mmdet' and not metrics):
        raise UserError(
            f'--shapes: {cfg.filename} is of {scope} with the model '
            f'{model.get("type")}: it must be a detector with a box or mask head '
            '(mmdet; not a panoptic one) or a segmenter (mmseg)'
        )
    name, layout = _DONORS[scope]
    donor = load_config(str(Path(configs) / name), data_root=str(Path(root) / layout))
    for key in set(cfg) - _KEPT:
        cfg.pop(key)
    for key, value in donor.to_dict().items():
        if key not in _KEPT:
            cfg[key] = value
    cfg.shapes_root = str(root)
    # Apart from the runs on the config's own data, which may be resumed.
    if cfg.get('work_dir') is None:
        cfg.work_dir = str(Path('work_dirs') / f'{Path(cfg.filename).stem}_on_shapes')

    classes = len(donor.train_dataloader.dataset.metainfo.classes)
    for part in _iter_dicts(cfg.model):
        if 'num_classes' in part:
            part['num_classes'] = classes
        if 'norm_eval' in part:
            part['norm_eval'] = False
    if scope == 'mmseg':
        cfg.model.data_preprocessor.size = donor.model.data_preprocessor.size
    else:
        cfg.val_evaluator.metric = cfg.test_evaluator.metric = metrics
        for part in _iter_dicts([cfg.get(name) for name in DATALOADERS]):
            # Some detectors of boxes take masks that they are given for tensors.
            if 'with_mask' in part:
                part['with_mask'] = 'segm' in metrics


def _list_metrics(model: dict[str, Any]) -> list[str]:
    """What mmdet's metric measures of a detector; nothing of one that sees stuff."""
    parts = list(_iter_dicts(model))
    if any('num_stuff_classes' in part for part in parts):
        return []
    boxes = any(part.get('bbox_head') for part in parts)
    masks = any(
        part.get('mask_head') or type_name(part) in _WITH_MASKS for part in parts
    )
    return ['bbox'] * boxes + ['segm'] * masks


def _iter_dicts(node: Any) -> Iterator[dict[str, Any]]:
    """Every dict of a nested config, the outer ones first."""
    if isinstance(node, dict):
        yield node
        node = list(node.values())
    if isinstance(node, (list, tuple)):
        for item in node:
            yield from _iter_dicts(item)
