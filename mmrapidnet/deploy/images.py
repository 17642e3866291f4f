"""Images as an exported file takes them: what a config's test pipeline gives."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.registry import DATASETS

from mmrapidnet.engine.config import iter_datasets
from mmrapidnet.engine.dataset_check import check_datasets
from mmrapidnet.errors import UserError

Read = Callable[[str], np.ndarray]
Pipeline = Callable[[dict[str, Any]], dict[str, Any]]


def build_reader(cfg: Config, size: tuple[int, int] | None = None) -> Read:
    """Make the function that reads and resizes an image as in testing.

    Args:
        cfg: A config with a ``test_dataloader``, whose scope is the default one.
        size: Height and width to stretch the image to afterwards, for a file of a
            fixed size. Defaults to None: as the pipeline gives it.

    Returns:
        From the path of an image to the image, (H, W, 3), uint8, BGR.

    Raises:
        UserError: If the config tests nothing, or, from the function, if the file is
            no image.
    """
    pipeline = build_pipeline(cfg)

    def read(path: str) -> np.ndarray:
        check_image(path)
        image = pipeline(dict(img_path=str(path)))['inputs'].numpy().transpose(1, 2, 0)
        if size is not None and image.shape[:2] != size:
            image = cv2.resize(image, size[::-1], interpolation=cv2.INTER_LINEAR)
        return np.ascontiguousarray(image)

    return read


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
    return Compose([t for t in transforms if 'LoadAnnotations' not in t['type']])


def check_image(path: str | Path) -> None:
    """Raise a UserError unless a file is there and an image.

    Args:
        path: The file.
    """
    if not Path(path).is_file():
        raise UserError(f'there is no image {path}')
    if not cv2.haveImageReader(str(path)):
        raise UserError(f'{path} is not an image that can be read')


def list_images(cfg: Config, dataloader: str) -> Iterator[str]:
    """Find the images of a data set.

    Args:
        cfg: The config, whose scope is the default one.
        dataloader: 'train_dataloader' or 'test_dataloader'.

    Yields:
        The path of each image.

    Raises:
        UserError: If the config names no such data set, or it is not there.
    """
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
        return next(list_images(cfg, 'test_dataloader'))
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
