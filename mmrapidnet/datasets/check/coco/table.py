"""The records of COCO's JSON as columns, with what a data set makes of each object."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from mmrapidnet.datasets.check.problem import Problem
from mmrapidnet.datasets.check.source import Source

_NO_LABEL = -1


class CocoTable:
    """The objects of an annotation file, a row each, in the order of the file.

    Args:
        content: The content of the file, without damaged records.
        source: The data set that reads it.
        thorough: Whether to decode all masks and to tell what is merely unusual, which
            takes longer.
    """

    def __init__(
        self, content: dict[str, list], source: Source, thorough: bool
    ) -> None:
        self.content, self.source, self.thorough = content, source, thorough
        self.path = str(source.dataset.ann_file)
        self.classes = tuple(source.dataset.metainfo['classes'])
        self.annotations = content['annotations']
        self.images = {image['id']: image for image in content['images']}
        labels = {name: label for label, name in enumerate(self.classes)}
        self.label_of = {
            category['id']: labels.get(category['name'], _NO_LABEL)
            for category in content['categories']
        }

    @cached_property
    def labels(self) -> np.ndarray:
        """(N,) Which of the classes an object is of; -1 if of none."""
        ids = (a['category_id'] for a in self.annotations)
        return np.fromiter((self.label_of.get(i, _NO_LABEL) for i in ids), dtype=int)

    @cached_property
    def owned(self) -> np.ndarray:
        """(N,) Whether the image of an object is in the file."""
        return self._flags(lambda a: a['image_id'] in self.images)

    @cached_property
    def crowd(self) -> np.ndarray:
        """(N,) Whether an object stands for a crowd."""
        return self._flags(lambda a: bool(a.get('iscrowd')))

    @cached_property
    def to_ignore(self) -> np.ndarray:
        """(N,) Whether mmdet passes over an object; pycocotools does not."""
        return self._flags(lambda a: bool(a.get('ignore')))

    @cached_property
    def used(self) -> np.ndarray:
        """(N,) Whether an object is read at all."""
        known = self.owned & (self.labels != _NO_LABEL)
        return known if self.source.evaluated else known & ~self.to_ignore

    @cached_property
    def boxes(self) -> np.ndarray:
        """(N, 4) Left, top, width, height in pixels."""
        boxes = [a['bbox'] for a in self.annotations]
        return np.array(boxes, dtype=float).reshape(-1, 4)

    @cached_property
    def areas(self) -> np.ndarray:
        """(N,) In pixels."""
        return np.array([a['area'] for a in self.annotations], dtype=float)

    @cached_property
    def finite(self) -> np.ndarray:
        """(N,) Whether box and area are."""
        return np.isfinite(self.boxes).all(1) & np.isfinite(self.areas)

    @cached_property
    def sizes(self) -> np.ndarray:
        """(N, 2) Width and height of the image, infinite if there is none."""
        nowhere = {'width': np.inf, 'height': np.inf}
        owners = [self.images.get(a['image_id'], nowhere) for a in self.annotations]
        sizes = [(owner['width'], owner['height']) for owner in owners]
        return np.array(sizes, dtype=float).reshape(-1, 2)

    @cached_property
    def small(self) -> np.ndarray:
        """(N,) Whether mmdet finds no extent in a box or area."""
        return (self.boxes[:, 2:] < 1).any(1) | (self.areas <= 0)

    @cached_property
    def outside(self) -> np.ndarray:
        """(N,) Whether a box has nothing in common with its image."""
        start, extent = self.boxes[:, :2], self.boxes[:, 2:]
        inside = np.minimum(start + extent, self.sizes) - np.maximum(start, 0)
        return (inside <= 0).any(1)

    @cached_property
    def kept_images(self) -> set[int | str]:
        """Ids of the images that mmdet leaves in the data set."""
        dataset, smallest = self.source.dataset, self.source.min_size
        kept = {
            number
            for number, image in self.images.items()
            if min(image['height'], image['width']) >= smallest
        }
        filters = dataset.filter_cfg or {}
        if filters.get('filter_empty_gt') and not dataset.test_mode:
            kept &= {
                annotation['image_id']
                for annotation, label in zip(self.annotations, self.labels)
                if label != _NO_LABEL
            }
        return kept

    @cached_property
    def fates(self) -> np.ndarray:
        """(N,) Why an object of a class is not learnt, or not measured; '' if it is."""
        reasons = {'are of no image': ~self.owned, 'are crowds': self.crowd}
        if self.source.evaluated:
            reasons['have a negative area'] = self.areas < 0
        else:
            dropped = self._flags(lambda a: a['image_id'] not in self.kept_images)
            reasons |= {
                'are to be ignored': self.to_ignore,
                'have no extent': self.small,
                'are outside of their images': self.outside,
                'are of images that are left out': dropped,
            }
        fates = np.full(len(self.annotations), '', dtype=object)
        for reason, rows in reversed(reasons.items()):
            fates[rows] = reason
        return fates

    def name(self, row: int) -> str:
        """How an object is called in a problem: its id and the file of its image."""
        annotation = self.annotations[row]
        image = self.images.get(annotation['image_id'])
        owner = f' of {image["file_name"]}' if image else ''
        return f'annotation {annotation["id"]}{owner}'

    def size_of(self, row: int) -> tuple[int, int]:
        """Height and width in pixels of the image that an object has."""
        image = self.images[self.annotations[row]['image_id']]
        return image['height'], image['width']

    def problem(
        self, kind: str, detail: str, record: str = '', stops: bool = True
    ) -> Problem:
        """A `Problem` of this file."""
        return Problem(kind, self.path, detail, record, stops)

    def problems(
        self, rows: Sequence[bool], kind: str, detail: str, stops: bool = True
    ) -> Iterator[Problem]:
        """A problem of each of the rows; the detail has fields of the annotation."""
        for row in np.flatnonzero(rows):
            told = detail.format_map(self.annotations[row])
            yield self.problem(kind, told, self.name(row), stops)

    def _flags(self, tell: Any) -> np.ndarray:
        return np.fromiter(map(tell, self.annotations), dtype=bool)
