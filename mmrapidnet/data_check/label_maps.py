"""Label maps in folders, as mmsegmentation reads them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import mmcv
import numpy as np

from mmrapidnet.data_check.problem import Problem
from mmrapidnet.data_check.sample import Sample
from mmrapidnet.data_check.source import Source

UNLABELLED = 255


def label_map_samples(source: Source) -> tuple[list[Problem], list[Sample]]:
    """List the images of a data set with their label maps.

    Args:
        source: A data set of mmsegmentation.

    Returns:
        Nothing wrong, as names are all there is to see, and the samples.
    """
    infos = source.dataset.load_data_list()
    return [], [
        Sample(info['img_path'], label_map=info.get('seg_map_path')) for info in infos
    ]


def check_label_map(
    sample: Sample, size: tuple[int, int] | None, source: Source
) -> Iterator[Problem]:
    """Hold a label map to its image and to the classes.

    Args:
        sample: An image with its label map.
        size: Height and width of the image as read; None if it cannot be.
        source: Their data set, with a pipeline that reads label maps.

    Yields:
        What is wrong with it.
    """

    def wrong(kind: str, detail: str) -> Problem:
        owner = f'label map of {sample.image}'
        return Problem(f'label map {kind}', sample.label_map, detail, owner)

    try:
        labels = read_labels(sample.label_map, source.annotations.imdecode_backend)
    except Exception as error:
        yield wrong('cannot be decoded', f'{type(error).__name__}: {error}')
        return
    if labels.ndim < 2:
        # mmseg takes a dimension of one away, and cannot resize what is left.
        yield wrong('one pixel wide or high', 'mmsegmentation cannot read it')
        return
    if labels.ndim > 2:
        detail = f'{labels.shape[-1]} channels instead of one number a pixel'
        yield wrong('of several channels', detail)
        return
    if size and labels.shape != size:
        detail = f'{labels.shape[1]}x{labels.shape[0]} instead of {size[1]}x{size[0]}'
        yield wrong('of another size than its image', detail)
    dataset = source.dataset
    count = len(dataset.label_map or dataset.metainfo['classes'])
    first = int(dataset.reduce_zero_label)
    unknown = unknown_labels(labels, first + count)
    if unknown:
        yield wrong(
            'with unknown labels',
            f'{", ".join(map(str, unknown[:3]))}, expected {first} to '
            f'{first + count - 1} for the {count} classes, and '
            f'{"0 or " if first else ""}{UNLABELLED} for none',
        )


def unknown_labels(labels: np.ndarray, end: int) -> list[int]:
    """Find the labels that stand for no class.

    Args:
        labels: Integers of any shape.
        end: One more than the label of the last class.

    Returns:
        The labels, each once, in order.

    Examples:
        >>> unknown_labels(np.array([[0, 7], [9, 255]]), end=7)
        [7, 9]
    """
    beyond = labels[(labels >= end) & (labels != UNLABELLED)]
    return np.unique(beyond).tolist()


def read_labels(path: str, backend: str) -> np.ndarray:
    """Read a label map before anything is done to its labels.

    Args:
        path: The file.
        backend: mmcv's decoder.

    Returns:
        (H, W) of integers, as mmsegmentation has it: without a dimension of one,
        and (H, W, C) if it is a picture instead.

    Raises:
        ValueError: If it cannot be decoded.
    """
    labels = mmcv.imfrombytes(Path(path).read_bytes(), 'unchanged', backend=backend)
    if labels is None:
        raise ValueError('it is not an image')
    return labels.squeeze()
