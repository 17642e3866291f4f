"""The records of COCO's JSON, as mmdet and pycocotools understand them."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from mmrapidnet.data_check.coco_records import drop_damaged, read_coco
from mmrapidnet.data_check.images import too_thin
from mmrapidnet.data_check.masks import are_sane, find_fault
from mmrapidnet.data_check.problem import Problem
from mmrapidnet.data_check.sample import Sample
from mmrapidnet.data_check.source import Source


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
        UserError: If the file is no annotation file of the config's classes.
    """
    dataset = source.dataset
    path = dataset.ann_file
    content = read_coco(path, dataset.metainfo['classes'])
    problems = drop_damaged(content, path, source.evaluated)
    records = _Records(content, source)
    samples = records.samples()
    problems += records.repeated()
    problems += records.odd_annotations()
    problems += records.odd_masks(thorough)
    # Thorough checks look at the images themselves.
    problems += records.crowds() if thorough else records.thin_images()
    return problems, samples


class _Records:
    """The records of an annotation file with what a data set makes of them."""

    def __init__(self, content: dict[str, list], source: Source) -> None:
        self.content, self.source = content, source
        self.path = source.dataset.ann_file
        self.images = {image['id']: image for image in content['images']}
        annotations = content['annotations']
        classes = set(source.dataset.metainfo['classes'])
        categories = content['categories']
        self.known = {category['id'] for category in categories}
        chosen = {c['id'] for c in categories if c['name'] in classes}
        # Read at all: of an image, of a class, and not called to be ignored.
        self.used = np.array(
            [
                a['image_id'] in self.images
                and a['category_id'] in chosen
                and not a.get('ignore')
                for a in annotations
            ],
            dtype=bool,
        )
        boxes = [a['bbox'] for a in annotations]
        self.boxes = np.array(boxes, dtype=float).reshape(-1, 4)
        self.areas = np.array([a['area'] for a in annotations], dtype=float)
        nowhere = {'width': np.inf, 'height': np.inf}
        owners = [self.images.get(a['image_id'], nowhere) for a in annotations]
        sizes = [(owner['width'], owner['height']) for owner in owners]
        self.sizes = np.array(sizes, dtype=float).reshape(-1, 2)
        self.left_out = ~self.used | self._small() | self._outside()

    def samples(self) -> list[Sample]:
        folder = self.source.dataset.data_prefix['img']
        return [
            Sample(
                os.path.join(folder, image['file_name']),
                f'{self.path}: image {image["id"]}',
                (image['height'], image['width']),
            )
            for image in self.content['images']
        ]

    def repeated(self) -> Iterator[Problem]:
        """Ids that stand for several records: pycocotools keeps the last."""
        for part, kind in (
            ('images', 'image'),
            ('annotations', 'annotation'),
            ('categories', 'category'),
        ):
            for value, count in _repeated(
                record['id'] for record in self.content[part]
            ):
                detail = f'{count} records have it'
                yield Problem(
                    f'repeated {kind} id', self.path, detail, f'{kind} {value}'
                )
        for name, count in _repeated(c['name'] for c in self.content['categories']):
            detail = f'{count} categories have the name {name!r}'
            yield Problem('repeated category name', self.path, detail)
        for name, count in _repeated(i['file_name'] for i in self.content['images']):
            detail = f'{count} images are of the file {name}, which is read as often'
            yield Problem('repeated file name', self.path, detail, stops=False)

    def odd_annotations(self) -> Iterator[Problem]:
        annotations = self.content['annotations']
        finite = np.isfinite(self.boxes).all(1) & np.isfinite(self.areas)
        fate = 'left out of training'
        if self.source.evaluated:
            fate = 'which no prediction can match'
        strange = [a['category_id'] not in self.known for a in annotations]
        stray = [a['image_id'] not in self.images for a in annotations]
        small, outside = self._small(), self._outside()
        yield from self._told(
            'box that is not finite',
            ~finite & self.used,
            lambda a: f'bbox {a["bbox"]}, area {a["area"]}',
            stops=True,
        )
        yield from self._told(
            'box without an extent',
            small & finite,
            lambda a: f'bbox {a["bbox"]}, area {a["area"]}, {fate}',
        )
        yield from self._told(
            'box outside of its image',
            outside & ~small & finite,
            lambda a: f'bbox {a["bbox"]}, {fate}',
        )
        yield from self._told(
            'unknown category id',
            np.array(strange, dtype=bool),
            lambda a: f'{a["category_id"]}, left out of training and evaluation',
        )
        yield from self._told(
            'annotation of no image',
            np.array(stray, dtype=bool),
            lambda a: f'image {a["image_id"]} is in no record, left out',
        )

    def odd_masks(self, thorough: bool) -> Iterator[Problem]:
        """Masks that training or evaluation cannot read, or do without."""
        if not self.source.masks:
            return
        evaluated = self.source.evaluated
        polygons = []
        for index in np.flatnonzero(self.used if evaluated else ~self.left_out):
            annotation = self.content['annotations'][index]
            mask = annotation.get('segmentation')
            image = self.images[annotation['image_id']]
            fault = find_fault(mask, (image['height'], image['width']), thorough)
            if fault:
                survives = fault.trains and (fault.evaluates or not evaluated)
                detail = f'{fault.detail}{", not learnt from" if survives else ""}'
                where = self._name(annotation)
                yield Problem(fault.kind, self.path, detail, where, not survives)
            elif isinstance(mask, list):
                polygons.append(annotation)
        if are_sane(annotation['segmentation'] for annotation in polygons):
            return
        for annotation in polygons:
            if not are_sane([annotation['segmentation']]):
                kind, where = 'mask with impossible coordinates', self._name(annotation)
                yield Problem(kind, self.path, 'NaN, text or over a million', where)

    def crowds(self) -> Iterator[Problem]:
        crowd = [bool(a.get('iscrowd')) for a in self.content['annotations']]
        yield from self._told(
            'crowd',
            np.array(crowd, dtype=bool),
            lambda a: 'neither learnt from nor counted as missed',
        )

    def thin_images(self) -> Iterator[Problem]:
        scale, min_size = self.source.smallest_scale, self.source.min_size
        for image in self.content['images']:
            size = image['height'], image['width']
            if too_thin(*size, scale) and min(size) >= min_size:
                detail = (
                    f'{size[1]}x{size[0]} resized to {scale}: under two pixels a side'
                )
                where = f'image {image["id"]} ({image["file_name"]})'
                yield Problem('image too thin to resize', self.path, detail, where)

    def _small(self) -> np.ndarray:
        return (self.boxes[:, 2:] < 1).any(1) | (self.areas <= 0)

    def _outside(self) -> np.ndarray:
        start, extent = self.boxes[:, :2], self.boxes[:, 2:]
        inside = np.minimum(start + extent, self.sizes) - np.maximum(start, 0)
        return (inside <= 0).any(1)

    def _told(self, kind, chosen: np.ndarray, tell, stops=False) -> Iterator[Problem]:
        for index in np.flatnonzero(chosen):
            annotation = self.content['annotations'][index]
            detail, where = tell(annotation), self._name(annotation)
            yield Problem(kind, self.path, detail, where, stops)

    def _name(self, annotation: dict[str, Any]) -> str:
        image = self.images.get(annotation['image_id'])
        owner = f' of {image["file_name"]}' if image else ''
        return f'annotation {annotation["id"]}{owner}'


def _repeated(values: Iterable[Any]) -> list[tuple[Any, int]]:
    return [(value, count) for value, count in Counter(values).items() if count > 1]
