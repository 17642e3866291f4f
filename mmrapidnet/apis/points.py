"""A model's metric on some images of its test set, to compare one model with another.

In points: hundredths of the best value.
"""

from __future__ import annotations

import contextlib
import io
import tempfile
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.registry import DATASETS, DefaultScope
from mmengine.runner import Runner

from mmrapidnet.apis.test import build_test_runner
from mmrapidnet.config.libraries import require_library
from mmrapidnet.config.load import iter_datasets
from mmrapidnet.datasets.check.precheck import check_datasets
from mmrapidnet.deploy.preprocess import spread
from mmrapidnet.utils.errors import UserError

IMAGES = 100
# By how a metric's name ends: what turns its value into points.
_SCALES = {'bbox_mAP': 100, 'segm_mAP': 100, 'mIoU': 1, 'top1': 1}


def measure_points(
    cfg: Config, checkpoint: str, images: int = IMAGES
) -> dict[str, float]:
    """Test a checkpoint, or an exported file, on some images of the config's test set.

    Args:
        cfg: The config the checkpoint was trained with.
        checkpoint: Path or URL of the checkpoint, or path of the exported file.
        images: How many images of each data set, if it has as many. Defaults to 100.

    Returns:
        As `read_points`.

    Raises:
        UserError: As `mmrapidnet.apis.test.test`, or if the number is not positive or
            the test set has none of those metrics.
    """
    with preparing_test(cfg, checkpoint, images) as runner, quiet():
        return read_points(runner.test())


@contextlib.contextmanager
def preparing_test(cfg: Config, checkpoint: str, images: int) -> Iterator[Runner]:
    """Build a runner that tests some images, logs nothing and leaves nothing behind.

    Args:
        cfg: The config the checkpoint was trained with; it stays as it is.
        checkpoint: Path or URL of the checkpoint, or path of the exported file.
        images: How many images of each data set, spread evenly, if it has as many.

    Yields:
        The runner.
    """
    cfg = deepcopy(cfg)
    take_images(cfg, images)
    cfg.log_level = 'WARNING'
    with tempfile.TemporaryDirectory() as folder:
        # What mmengine keeps by name, a visualizer's folder above all, is of this run.
        cfg.update(work_dir=folder, experiment_name=Path(folder).name, visualizer=None)
        yield build_test_runner(cfg, checkpoint)


def quiet() -> contextlib.AbstractContextManager:
    """Hide what pycocotools tells of its progress."""
    return contextlib.redirect_stdout(io.StringIO())


def take_images(cfg: Config, images: int) -> None:
    """Let a config test some images only, spread evenly over its test set.

    Args:
        cfg: The config, changed in place.
        images: How many of each data set, if it has as many.

    Raises:
        UserError: If the number is not positive, or a data set is missing.
    """
    if images < 1:
        raise UserError(f'--metric-images {images}: at least one is needed')
    scope = require_library(cfg)
    check_datasets(cfg, ['test_dataloader'])
    with DefaultScope.overwrite_default_scope(scope):
        for dataset in iter_datasets(cfg.test_dataloader):
            total = len(DATASETS.build({**deepcopy(dataset), 'pipeline': []}))
            chosen, given = spread(images, total), dataset.get('indices')
            among = isinstance(given, (list, tuple))
            dataset['indices'] = [given[n] for n in chosen] if among else chosen


def read_points(metrics: dict[str, Any]) -> dict[str, float]:
    """Pick the metrics that models are judged by.

    Args:
        metrics: What a test gave.

    Returns:
        Mean average precision of boxes and of masks, mean IoU, or top-1 accuracy, by
        their names, in points.

    Raises:
        UserError: If it gave none of them.

    Examples:
        >>> read_points({'coco/bbox_mAP': 0.5, 'coco/bbox_mAP_50': 0.75})
        {'coco/bbox_mAP': 50.0}
    """
    points = {
        name: float(value * _SCALES[name.rpartition('/')[2]])
        for name, value in metrics.items()
        if name.rpartition('/')[2] in _SCALES
    }
    if not points:
        raise UserError(
            f'the test gives {", ".join(metrics) or "no metric"}, but none of '
            f'{", ".join(_SCALES)}, by which precisions are compared: choose a '
            '--precision'
        )
    return points
