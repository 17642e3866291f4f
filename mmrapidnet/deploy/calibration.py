"""The images that integer ranges are taken from."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from mmengine.config import Config

from mmrapidnet.deploy.images import build_reader, list_images
from mmrapidnet.deploy.runner import to_batch
from mmrapidnet.errors import UserError


class CalibrationImages:
    """Images of a config's training set, or else test set, through its test pipeline.

    They are spread evenly over the data set and read anew in each iteration.

    Args:
        cfg: The config, whose scope is the default one.
        count: How many, if the data set has as many. Defaults to 300.
        size: Height and width of a file of a fixed size. Defaults to None: as the
            pipeline gives them.

    Raises:
        UserError: If neither data set is there.

    Iterating yields images of (1, 3, H, W), float32, 0 to 255, BGR.
    """

    def __init__(
        self, cfg: Config, count: int = 300, size: tuple[int, int] | None = None
    ) -> None:
        if count < 1:
            raise UserError(f'--calibration-images {count}: at least one is needed')
        paths = _find_images(cfg)
        chosen = np.linspace(0, len(paths) - 1, min(count, len(paths)))
        self.paths = [paths[int(index)] for index in chosen]
        self._read = build_reader(cfg, size)

    def __len__(self) -> int:
        return len(self.paths)

    def __iter__(self) -> Iterator[np.ndarray]:
        for path in self.paths:
            yield to_batch(self._read(path))


def _find_images(cfg: Config) -> list[str]:
    problems = []
    for dataloader in ('train_dataloader', 'test_dataloader'):
        try:
            images = list(list_images(cfg, dataloader))
        except UserError as error:
            problems.append(error)
        else:
            if images:
                return images
    reason = problems[-1] if problems else 'they are empty'
    raise UserError(
        "int8 needs images to calibrate on, of the config's train or test set: "
        f'{reason}'
    )
