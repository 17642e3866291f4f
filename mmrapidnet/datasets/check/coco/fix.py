"""A corrected copy of COCO's JSON, of what can be corrected without guessing."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

from mmengine.config import Config

from mmrapidnet.config.evaluators import list_metrics
from mmrapidnet.config.load import iter_datasets
from mmrapidnet.datasets.check.coco.boxes import fix_boxes
from mmrapidnet.datasets.check.coco.check import reads_coco
from mmrapidnet.datasets.check.coco.classes import fix_classes
from mmrapidnet.datasets.check.coco.ids import fix_ids
from mmrapidnet.datasets.check.coco.masks import fix_masks
from mmrapidnet.datasets.check.coco.read import has_byte_order_mark, read_coco
from mmrapidnet.datasets.check.coco.records import fix_types
from mmrapidnet.datasets.check.layout import check_layout
from mmrapidnet.datasets.check.problem import Change
from mmrapidnet.datasets.check.source import Source, sources_of
from mmrapidnet.utils.atomic import write_atomic
from mmrapidnet.utils.errors import UserError


def fix_annotations(cfg: Config, dataloaders: list[str], out: str) -> list[Change]:
    """Write a corrected copy of an annotation file, and let a config read the copy.

    Args:
        cfg: The config of a run; its data sets and evaluators that read the file are
            changed in place.
        dataloaders: Names of the dataloaders, which must read one COCO file between
            them.
        out: The copy.

    Returns:
        What was changed.

    Raises:
        UserError: If there is not one such file, it is no annotation file, or the
            copy would replace it or cannot be written.
    """
    source = _only_source(cfg, dataloaders)
    path, copy = os.path.abspath(source.dataset.ann_file), os.path.abspath(out)
    if os.path.realpath(path) == os.path.realpath(copy):
        raise UserError(f'--fix {out} is the annotation file itself: name another file')
    content = read_coco(path, source.annotated)
    changes = []
    if has_byte_order_mark(path):
        changes.append(Change('byte-order mark taken away', 'file', 'UTF-8 without it'))
    changes += fix_content(content, source.dataset.metainfo['classes'])
    try:
        write_atomic(Path(copy), json.dumps(content, ensure_ascii=False).encode())
    except OSError as error:
        raise UserError(f'--fix {out} cannot be written: {error}') from error
    _read_instead(cfg, dataloaders, path, copy)
    return changes


def fix_content(content: dict[str, list], classes: Sequence[str]) -> list[Change]:
    """Correct the content of a file in place, for a config of some classes."""
    # Ids and types first, as masks and boxes need the sizes of their images.
    return [
        *fix_types(content),
        *fix_ids(content),
        *fix_classes(content, classes),
        *fix_masks(content),
        *fix_boxes(content),
    ]


def _only_source(cfg: Config, dataloaders: list[str]) -> Source:
    found = {}
    for source in sources_of(cfg, dataloaders):
        check_layout(source, cfg)
        if source.scope == 'mmdet' and reads_coco(source.dataset):
            found.setdefault(os.path.realpath(source.dataset.ann_file), source)
    if not found:
        raise UserError("--fix: none of these data sets reads COCO's JSON")
    if len(found) > 1:
        files = ', '.join(str(source.dataset.ann_file) for source in found.values())
        raise UserError(
            f'--fix: these data sets read {len(found)} annotation files, {files}: '
            'choose one with --splits'
        )
    return next(iter(found.values()))


def _read_instead(cfg: Config, dataloaders: list[str], path: str, copy: str) -> None:
    for name in dataloaders:
        for dataset in iter_datasets(cfg.get(name)):
            file = os.path.join(dataset.get('data_root') or '', dataset['ann_file'])
            if os.path.abspath(file) == path:
                dataset['ann_file'] = copy
        for metric in list_metrics(cfg.get(name.replace('_dataloader', '_evaluator'))):
            file = metric.get('ann_file')
            if file and os.path.abspath(file) == path:
                metric['ann_file'] = copy
