"""COCO's JSON, as mmdet and pycocotools understand it."""

from __future__ import annotations

import os
from collections.abc import Iterator

from mmengine.dataset import BaseDataset

from mmrapidnet.datasets.check.coco.boxes import check_boxes
from mmrapidnet.datasets.check.coco.classes import check_classes
from mmrapidnet.datasets.check.coco.ids import check_ids
from mmrapidnet.datasets.check.coco.left import check_left
from mmrapidnet.datasets.check.coco.masks import check_masks
from mmrapidnet.datasets.check.coco.read import has_byte_order_mark, read_coco
from mmrapidnet.datasets.check.coco.records import drop_damaged
from mmrapidnet.datasets.check.coco.table import CocoTable
from mmrapidnet.datasets.check.images import find_thinness
from mmrapidnet.datasets.check.problem import FIXABLE, Problem
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
    problems = []
    if has_byte_order_mark(path):
        detail = f'pycocotools cannot read it; {FIXABLE}'
        problems.append(Problem('byte-order mark', path, detail))
    named = len(content['categories'])
    problems += drop_damaged(content, path, source.evaluated)
    table = CocoTable(content, source, thorough)
    # Where one is damaged, its name is not what is wrong.
    if len(content['categories']) == named:
        problems += check_classes(table)
    problems += check_ids(table)
    if source.annotated:
        problems += [*check_boxes(table), *check_masks(table)]
    # Whatever else is left follows from what stops the run.
    if not any(problem.stops for problem in problems):
        problems += check_left(table)
    if thorough:
        detail = 'neither learnt from nor counted as missed'
        problems += table.problems(table.crowd, 'crowd', detail, stops=False)
    else:
        # Thorough checks look at the images themselves.
        problems += _thin_images(table)
    return problems, _samples(table)


def _thin_images(table: CocoTable) -> Iterator[Problem]:
    for image in table.content['images']:
        detail = find_thinness(image['height'], image['width'], table.source)
        if detail:
            where = f'image {image["id"]} ({image["file_name"]})'
            yield table.problem('image too thin to resize', detail, where)


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
