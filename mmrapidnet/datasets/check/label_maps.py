"""Label maps in folders, as mmsegmentation reads them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import mmcv
import numpy as np
from mmengine.dataset import BaseDataset

from mmrapidnet.datasets.check.files import images_below
from mmrapidnet.datasets.check.problem import Problem
from mmrapidnet.datasets.check.source import Sample, Source

UNLABELLED = 255
LABELS = 256


def label_map_samples(source: Source) -> tuple[list[Problem], list[Sample]]:
    """List the images and label maps of a data set, and what its suffixes leave out."""
    dataset = source.dataset
    key = 'seg_map_path' if source.needs_label_maps else None
    samples = [
        Sample(info['img_path'], label_map=info.get(key))
        for info in dataset.load_data_list()
    ]
    if os.path.isfile(dataset.ann_file):
        # It lists what is meant.
        return [], samples
    left_out = list(_left_out(source, samples))
    if samples:
        return left_out, samples
    folder = dataset.data_prefix['img_path']
    detail = f'no file ends in {dataset.img_suffix!r} (img_suffix)'
    if left_out:
        detail += f', as {left_out[0].file} does not'
    return [Problem('no image left', folder, detail)], samples


def _left_out(source: Source, samples: list[Sample]) -> Iterator[Problem]:
    """Images and label maps that are in the folders but in no sample."""
    dataset = source.dataset
    images, maps = (dataset.data_prefix.get(k) for k in ('img_path', 'seg_map_path'))
    maps = maps if source.needs_label_maps else None
    img_suffix, map_suffix = dataset.img_suffix, dataset.seg_map_suffix
    used = {path for sample in samples for path in (sample.image, sample.label_map)}
    for path in images_below(images):
        # Both may share a folder.
        is_map = maps and path.startswith(maps) and _ends(path, map_suffix)
        if path not in used and not is_map:
            detail = f'left out, as it does not end in {img_suffix} (img_suffix)'
            yield Problem('image left out', path, detail, stops=False)
    for path in images_below(maps) if maps else ():
        is_image = path.startswith(images) and _ends(path, img_suffix)
        if path in used or is_image or not _ends(path, map_suffix):
            continue
        if path.endswith(map_suffix):
            kind = 'label map without an image'
            detail = f'no image of its name ends in {img_suffix} (img_suffix)'
        else:
            kind = 'label map left out'
            detail = f'it does not end in {map_suffix} (seg_map_suffix)'
        yield Problem(kind, path, detail, stops=False)


def _ends(path: str, suffix: str) -> bool:
    return path.lower().endswith(suffix.lower())


def check_label_map(
    sample: Sample, size: tuple[int, int] | None, source: Source
) -> tuple[list[Problem], np.ndarray | None]:
    """Hold a label map to its image and to the classes.

    Args:
        sample: An image with its label map.
        size: Height and width of the image as read; None if it cannot be.
        source: Their data set, with a pipeline that reads label maps.

    Returns:
        What is wrong with it, and how many pixels each label has once mmsegmentation
        has numbered them from 0 on, (256,); None if it cannot tell.
    """

    def wrong(kind: str, detail: str) -> Problem:
        owner = f'label map of {sample.image}'
        return Problem(f'label map {kind}', sample.label_map, detail, owner)

    try:
        labels = _read(sample.label_map, source.annotations.imdecode_backend)
    except Exception as error:
        return [wrong('cannot be decoded', f'{type(error).__name__}: {error}')], None
    if labels.ndim < 2:
        # mmseg takes a dimension of one away, and cannot resize what is left.
        detail = 'mmsegmentation cannot read it'
        return [wrong('one pixel wide or high', detail)], None
    if labels.ndim > 2:
        detail = f'{labels.shape[-1]} channels instead of one number per pixel'
        return [wrong('of several channels', detail)], None
    problems = []
    if size and labels.shape != size:
        detail = f'{labels.shape[1]}x{labels.shape[0]} instead of {size[1]}x{size[0]}'
        problems.append(wrong('of another size than its image', detail))
    dataset = source.dataset
    count = len(dataset.label_map or dataset.metainfo['classes'])
    numbered = _renumber(labels, dataset.reduce_zero_label)
    unknown = np.unique(labels[are_unknown(numbered, count, dataset.ignore_index)])
    if unknown.size:
        first = int(dataset.reduce_zero_label)
        detail = (
            f'{", ".join(map(str, unknown[:3]))}, expected {first} to '
            f'{first + count - 1} for the {count} classes, and {_none(dataset)} for '
            'none'
        )
        problems.append(wrong('with unknown labels', detail))
    return problems, _count(numbered, dataset.label_map)


def _renumber(labels: np.ndarray, reduce_zero_label: bool) -> np.ndarray:
    """Number classes from 0 on, as mmsegmentation does where 0 stands for none."""
    if not reduce_zero_label:
        return labels
    return np.where(np.isin(labels, (0, UNLABELLED)), UNLABELLED, labels - 1)


def _none(dataset: BaseDataset) -> str:
    """The labels in files that stand for no class."""
    if not dataset.reduce_zero_label:
        return str(dataset.ignore_index)
    if dataset.ignore_index == UNLABELLED:
        return f'0 or {UNLABELLED}'
    return str(dataset.ignore_index + 1)


def _count(labels: np.ndarray, label_map: dict[int, int] | None) -> np.ndarray:
    counts = np.bincount(labels.astype(np.uint8).ravel(), minlength=LABELS)
    if not label_map:
        return counts
    mapped = np.arange(LABELS)
    mapped[list(label_map)] = list(label_map.values())
    return np.bincount(mapped, counts, LABELS).astype(np.int64)


def are_unknown(labels: np.ndarray, count: int, ignored: int) -> np.ndarray:
    """Find the pixels whose labels stand for no class.

    Args:
        labels: Integers of any shape, classes from 0 on.
        count: How many classes there are.
        ignored: The label that is known to stand for none.

    Returns:
        Booleans of the same shape.

    Examples:
        >>> are_unknown(np.array([[0, 7], [9, 255]]), count=7, ignored=255).tolist()
        [[False, True], [True, False]]
    """
    return (labels >= count) & (labels != ignored)


def _read(path: str, backend: str) -> np.ndarray:
    """(H, W) of integers, without a dimension of one; (H, W, C) if it has colours."""
    labels = mmcv.imfrombytes(Path(path).read_bytes(), 'unchanged', backend=backend)
    if labels is None:
        raise ValueError('it is not an image')
    return labels.squeeze()
