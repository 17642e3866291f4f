"""Images as an exported file takes them: what a config's test pipeline gives."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.registry import DATASETS

from mmrapidnet.config.load import iter_datasets
from mmrapidnet.config.type_names import type_name
from mmrapidnet.datasets.check.images import KEEP_DEPTH, find_lost_depth
from mmrapidnet.datasets.check.precheck import check_datasets
from mmrapidnet.deploy.inference import to_batch
from mmrapidnet.utils.errors import UserError

Read = Callable[[str], np.ndarray]
Pipeline = Callable[[dict[str, Any]], dict[str, Any]]

_ANNOTATIONS = re.compile(r'Load\w*Annotations?')


class UnreadableImageError(UserError):
    """An image file that is damaged, or none, or not one for the pipeline."""


def build_reader(cfg: Config, size: tuple[int, int] | None = None) -> Read:
    """Make the function that reads and resizes an image as in testing.

    Args:
        cfg: A config with a ``test_dataloader``, whose scope is the default one.
        size: Height and width to stretch the image to afterwards, for a file of a
            fixed size. Defaults to None: as the pipeline gives it.

    Returns:
        From the path of an image to the image, (H, W, C), uint8, its channels as the
        pipeline reads them: BGR, or a single one, or those of the file.

    Raises:
        UserError: If the config tests nothing, or, from the function, if the file is
            no image or damaged.
    """
    pipeline = build_pipeline(cfg)

    def read(path: str) -> np.ndarray:
        image = read_image(pipeline, path)['inputs'].numpy().transpose(1, 2, 0)
        if size is not None and image.shape[:2] != size:
            resized = cv2.resize(image, size[::-1], interpolation=cv2.INTER_LINEAR)
            image = resized.reshape(*size, -1)  # OpenCV drops a single channel
        return np.ascontiguousarray(image)

    return read


def read_image(
    pipeline: Pipeline, path: str | Path, advice: str = KEEP_DEPTH
) -> dict[str, Any]:
    """Read an image as in testing.

    Args:
        pipeline: What `build_pipeline` gave.
        path: The file.
        advice: How to keep the values of an image of more than 8 bits. Defaults to how
            a config's pipelines do.

    Returns:
        ``inputs`` and ``data_samples``.

    Raises:
        UnreadableImageError: If there is no such image, it is damaged, its values would
            lose their depth, or the pipeline cannot take it.
    """
    check_image(path)
    try:
        sample = pipeline(dict(img_path=str(path), img_id=0))
        lost = _find_lost_depth(pipeline, path, advice)
    except Exception as error:  # transforms raise whatever they like
        if not _can_be_decoded(path):
            raise UnreadableImageError(
                f'{path} is not an image that can be read: it is truncated or damaged'
            ) from error
        raise UnreadableImageError(
            f'{path} does not go through the test pipeline: {type(error).__name__}: '
            f'{error}'
        ) from error
    if lost:
        raise UnreadableImageError(f'{path}: {lost}')
    return sample


def _find_lost_depth(pipeline: Pipeline, path: str | Path, advice: str) -> str | None:
    steps = getattr(pipeline, 'transforms', ())
    loaders = [step for step in steps if type(step).__name__ == 'LoadImageFromFile']
    return find_lost_depth(path, loaders[0], advice) if loaders else None


def _can_be_decoded(path: str | Path) -> bool:
    try:
        return cv2.imread(str(path), cv2.IMREAD_UNCHANGED) is not None
    except cv2.error:  # too large
        return False


def build_pipeline(cfg: Config) -> Pipeline:
    """Build a config's test pipeline for images without annotations.

    Args:
        cfg: A config with a ``test_dataloader``, whose scope is the default one.

    Returns:
        From a dict with ``img_path`` to ``inputs`` and ``data_samples``.

    Raises:
        UserError: If the config tests nothing.
    """
    transforms = deepcopy(_get_dataset(cfg, 'test_dataloader')['pipeline'])
    return Compose([t for t in transforms if not _ANNOTATIONS.search(type_name(t))])


def check_image(path: str | Path) -> None:
    """Raise unless a file is there and begins as an image does.

    Args:
        path: The file.

    Raises:
        UnreadableImageError: If it is not.
    """
    if not Path(path).is_file():
        raise UnreadableImageError(f'there is no image {path}')
    if not cv2.haveImageReader(str(path)):
        raise UnreadableImageError(f'{path} is not an image that can be read')


def _list_images(cfg: Config, dataloader: str) -> Iterator[str]:
    """The paths of a data set's images; a UserError if there is no such data set."""
    settings = deepcopy(_get_dataset(cfg, dataloader))
    check_datasets(cfg, [dataloader])
    dataset = DATASETS.build({**settings, 'pipeline': []})
    for index in range(len(dataset)):
        yield dataset.get_data_info(index)['img_path']


def first_test_image(cfg: Config) -> str:
    """Find the first image of a config's test set.

    Args:
        cfg: The config, whose scope is the default one.

    Returns:
        Its path.

    Raises:
        UserError: If there is none.
    """
    try:
        return next(_list_images(cfg, 'test_dataloader'))
    except (UserError, StopIteration) as error:
        reason = f': {error}' if str(error) else ''
        raise UserError(
            'give an image to compare the file and PyTorch on, with --image FILE; the '
            f'test set that the config names has none{reason}'
        ) from error


def _get_dataset(cfg: Config, dataloader: str) -> dict[str, Any]:
    dataset = next(iter_datasets(cfg.get(dataloader)), None)
    if dataset is None:
        raise UserError(f'{cfg.filename} has no {dataloader}')
    return dataset


def spread(count: int, total: int) -> list[int]:
    """Choose some of many, evenly.

    Args:
        count: How many, if there are as many.
        total: How many there are.

    Returns:
        Their numbers, in ascending order.

    Examples:
        >>> spread(3, 10), spread(3, 2)
        ([0, 4, 9], [0, 1])
    """
    return [int(n) for n in np.linspace(0, total - 1, min(count, total))]


class CalibrationImages:
    """Images spread evenly over many, read anew in each iteration.

    Args:
        paths: The images.
        read: From the path of one to what the file takes, (H, W, C).
        count: How many, if there are as many. Defaults to 300.

    Raises:
        UserError: If the number is not positive.

    Iterating yields images of (1, C, H, W), float32, 0 to 255.
    """

    def __init__(self, paths: Sequence[str], read: Read, count: int = 300) -> None:
        if count < 1:
            raise UserError(f'--calibration-images {count}: at least one is needed')
        self.paths = [paths[index] for index in spread(count, len(paths))]
        self._read = read

    def __len__(self) -> int:
        return len(self.paths)

    def __iter__(self) -> Iterator[np.ndarray]:
        for path in self.paths:
            yield to_batch(self._read(path))


def find_calibration_images(cfg: Config, folder: str | None = None) -> list[str]:
    """Find images to calibrate on.

    Args:
        cfg: The config, whose scope is the default one.
        folder: Their folder. Defaults to None: the config's training set, or else
            test set.

    Returns:
        Their paths.

    Raises:
        UserError: If there are none.
    """
    if folder is not None:
        files = sorted(path for path in Path(folder).rglob('*') if path.is_file())
        images = [str(path) for path in files if cv2.haveImageReader(str(path))]
        if not images:
            raise UserError(f'--calibration-folder {folder}: there is no image in it')
        return images
    problems = []
    for dataloader in ('train_dataloader', 'test_dataloader'):
        try:
            images = list(_list_images(cfg, dataloader))
        except UserError as error:
            problems.append(error)
        else:
            if images:
                return images
    reason = problems[-1] if problems else 'they are empty'
    raise UserError(
        "int8 needs images to calibrate on, of the config's train or test set or of "
        f'--calibration-folder: {reason}'
    )
