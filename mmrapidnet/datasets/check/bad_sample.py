"""One line that names the image, for what goes wrong with it while training."""

from __future__ import annotations

from typing import Any

from mmengine.dataset import BaseDataset

from mmrapidnet.datasets.check.label_maps import are_unknown
from mmrapidnet.utils.errors import UserError


class BadSampleError(UserError):
    """An image or its annotations cannot be used.

    PyTorch builds it anew from the traceback of a data worker, whose end is the line.

    Args:
        message: The line, or a traceback that ends with it.
    """

    def __init__(self, message: str) -> None:
        line = message.rpartition(f'{type(self).__name__}: ')[2]
        super().__init__(line.strip().replace('\n', ' '))


def prepare_sample(dataset: BaseDataset, index: int) -> Any:
    """Send a sample through the pipeline of its data set.

    Args:
        dataset: The data set.
        index: Which of its samples.

    Returns:
        What the pipeline makes of it; None if a step asks for another sample.

    Raises:
        BadSampleError: If a step fails, or what was read contradicts the annotations.
    """
    sample = dataset.get_data_info(index)
    name = _name(dataset, sample)
    for step in dataset.pipeline.transforms:
        had = set(sample)
        try:
            sample = step(sample)
        except BadSampleError:
            raise
        except Exception as error:
            kind = type(step).__name__
            raise BadSampleError(
                f'{name}: {kind} fails with {type(error).__name__}: {error}'
            ) from error
        if sample is None:
            return None
        fault = _contradiction(dataset, sample, set(sample) - had)
        if fault:
            raise BadSampleError(f'{name}: {fault}')
    return sample


def _name(dataset: BaseDataset, sample: dict[str, Any]) -> str:
    names = [str(sample.get('img_path', 'an image'))]
    if sample.get('seg_map_path'):
        names.append(f'label map {sample["seg_map_path"]}')
    if 'img_id' in sample:
        names.append(f'image {sample["img_id"]} of {dataset.ann_file}')
    return ', '.join(names)


def _contradiction(
    dataset: BaseDataset, sample: dict[str, Any], new: set[str]
) -> str | None:
    """What annotations say otherwise than the files, once both are read."""
    if 'ori_shape' in new and {'height', 'width'} <= sample.keys():
        read, declared = sample['ori_shape'], (sample['height'], sample['width'])
        if tuple(read) != declared:
            return f'the image is read as {_size(read)}, annotated as {_size(declared)}'
    if 'gt_seg_map' in new and 'reduce_zero_label' in sample:
        labels, size = sample['gt_seg_map'], sample['ori_shape']
        if labels.ndim > len(size):
            return (
                f'the label map has {labels.shape[-1]} channels instead of one number '
                'per pixel'
            )
        if labels.shape != tuple(size):
            return f'the label map is {_size(labels.shape)}, its image {_size(size)}'
        count, ignored = len(dataset.metainfo['classes']), dataset.ignore_index
        unknown = labels[are_unknown(labels, count, ignored)]
        if unknown.size:
            return (
                f'the label map has label {unknown.min()}, but there are {count} '
                f'classes, and the label of none (ignore_index) is {ignored}'
            )
    return None


def _size(shape: tuple[int, ...]) -> str:
    return f'{"x".join(map(str, shape[1::-1]))} pixels'
