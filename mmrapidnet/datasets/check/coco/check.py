"""COCO's JSON, as mmdet and pycocotools understand it."""

from __future__ import annotations

import os
from collections.abc import Iterator

import numpy as np
from mmengine.dataset import BaseDataset

from mmrapidnet.datasets.check.coco.boxes import check_boxes
from mmrapidnet.datasets.check.coco.ids import check_classes, check_ids
from mmrapidnet.datasets.check.coco.left import check_left
from mmrapidnet.datasets.check.coco.masks import are_sane, find_fault
from mmrapidnet.datasets.check.coco.records import (
    check_encoding,
    drop_damaged,
    read_coco,
)
from mmrapidnet.datasets.check.coco.table import CocoTable
from mmrapidnet.datasets.check.images import too_thin
from mmrapidnet.datasets.check.problem import Problem
from mmrapidnet.datasets.check.source import Sample, Source


def reads_coco(dataset: BaseDataset) -> bool:
    """Whether a data set reads its annotations as ``CocoDataset`` does.

    Panoptic annotations and those of LVIS are written otherwise, and so may be those
    of a data set with its own way of reading.

    Args:
        dataset: A data set of mmdet.

    Returns:
        Whether it does.
    """
    from mmdet.datasets import CocoDataset, Objects365V1Dataset, Objects365V2Dataset

    alike = CocoDataset, Objects365V1Dataset, Objects365V2Dataset
    kind = type(dataset)
    return (
        isinstance(dataset, CocoDataset)
        and kind.parse_data_info is CocoDataset.parse_data_info
        and kind.load_data_list in [known.load_data_list for known in alike]
    )


def coco_samples(
    source: Source, thorough: bool = False
) -> tuple[list[Problem], list[Sample]]:
    """Check the records of an annotation file and list its images.

    Args:
        source: A data set of mmdet in COCO's JSON.
        thorough: Whether to decode masks and to tell what is merely unusual, which
            takes longer.  Defaults to False.

    Returns:
        What is wrong or left out, and the samples.

    Raises:
        UserError: If the file is no annotation file.
    """
    path = str(source.dataset.ann_file)
    content = read_coco(path, source.annotated)
    problems = check_encoding(path)
    damaged = drop_damaged(content, path, source.evaluated)
    table = CocoTable(content, source)
    problems += [*damaged, *check_classes(table), *check_ids(table, thorough)]
    if source.annotated:
        problems += check_boxes(table, thorough)
        problems += check_masks(table, thorough)
    # Whatever else is left follows from what stops the run.
    if not any(problem.stops for problem in problems):
        problems += check_left(table)
    # Thorough checks look at the images themselves.
    problems += _crowds(table) if thorough else _thin_images(table)
    return problems, _samples(table)


def check_masks(table: CocoTable, thorough: bool) -> Iterator[Problem]:
    """Look for masks that training or evaluation cannot read, or do without.

    Args:
        table: The records.
        thorough: Whether to decode them.

    Yields:
        What was found.
    """
    if not table.source.masks:
        return
    evaluated = table.source.evaluated
    rows = table.used if evaluated else table.used & ~table.small & ~table.outside
    rows = np.flatnonzero(rows)
    masks = [table.annotations[row].get('segmentation') for row in rows]
    if len(masks) > 1 and not any(masks):
        detail = (
            f'its {len(rows):,} objects only have boxes, as some tools export them: '
            'export polygons, or train on boxes, for which set '
            'model.roi_head.mask_head=None, with_mask=False in LoadAnnotations and '
            "metric='bbox' in the evaluators"
        )
        yield Problem('no object with a mask', table.path, detail)
        return
    polygons = []
    for row, mask in zip(rows, masks):
        image = table.images[table.annotations[row]['image_id']]
        fault = find_fault(mask, (image['height'], image['width']), thorough)
        if fault:
            survives = fault.trains and (fault.evaluates or not evaluated)
            detail = f'{fault.detail}{", not learnt from" if survives else ""}'
            yield Problem(fault.kind, table.path, detail, table.name(row), not survives)
        elif isinstance(mask, list):
            polygons.append(row)
    if are_sane(table.annotations[row]['segmentation'] for row in polygons):
        return
    for row in polygons:
        if not are_sane([table.annotations[row]['segmentation']]):
            kind, detail = (
                'mask with impossible coordinates',
                'NaN, text or over a million',
            )
            yield Problem(kind, table.path, detail, table.name(row))


def _crowds(table: CocoTable) -> Iterator[Problem]:
    for row in np.flatnonzero(table.crowd):
        detail = 'neither learnt from nor counted as missed'
        yield Problem('crowd', table.path, detail, table.name(row), stops=False)


def _thin_images(table: CocoTable) -> Iterator[Problem]:
    scale, min_size = table.source.smallest_scale, table.source.min_size
    for image in table.content['images']:
        size = image['height'], image['width']
        if too_thin(*size, scale) and min(size) >= min_size:
            detail = f'{size[1]}x{size[0]} resized to {scale}: under two pixels a side'
            where = f'image {image["id"]} ({image["file_name"]})'
            yield Problem('image too thin to resize', table.path, detail, where)


def _samples(table: CocoTable) -> list[Sample]:
    folder = table.source.dataset.data_prefix['img']
    return [
        Sample(
            os.path.join(folder, image['file_name']),
            f'{table.path}: image {image["id"]}',
            (image['height'], image['width']),
        )
        for image in table.content['images']
    ]
