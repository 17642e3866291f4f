"""Files of a test's predictions, one for each image, in the images' sub folders.

The libraries name them by the base names of the images, which may repeat.  Importing
this module registers the hooks.
"""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from mmengine.dataset import BaseDataset
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from mmengine.structures import BaseDataElement

from mmrapidnet.engine.visualization import PredictionDrawer, name_outputs
from mmrapidnet.utils.errors import UserError


class _PredictionFilesHook(Hook):
    """Writes a file for each image that is tested.

    Args:
        out_dir: The folder they go to.
    """

    suffix: str | None = None

    def __init__(self, out_dir: str) -> None:
        self.out_dir = Path(out_dir).absolute()

    def before_test(self, runner: Runner) -> None:
        """Name the files, none of which may be one that the test reads."""
        images: dict[str, None] = {}
        read = set()
        for sample in _list_samples(runner.test_dataloader.dataset):
            images[sample['img_path']] = None
            paths = (sample['img_path'], sample.get('seg_map_path'))
            read.update(os.path.realpath(path) for path in paths if path)
        self.files = {
            image: self.out_dir / name
            for image, name in name_outputs(images, self.suffix).items()
        }
        for file in self.files.values():
            if os.path.realpath(file) in read:
                raise UserError(
                    f'{file}, which the test reads, would be overwritten: give another '
                    f'folder than {self.out_dir}'
                )

    def after_test_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Any = None,
        outputs: Sequence[BaseDataElement] | None = None,
    ) -> None:
        """Write those of a batch."""
        for sample in outputs:
            if 'img_path' not in sample:
                raise UserError(
                    'the predictions do not say of which image they are: let the last '
                    "transform of the test pipeline keep 'img_path' in its meta_keys"
                )
            self.write(sample.img_path, sample, self.files[sample.img_path])

    @abstractmethod
    def write(self, image: str, sample: BaseDataElement, file: Path) -> None:
        """Write the file of an image."""


@HOOKS.register_module()
class DrawPredictionsHook(_PredictionFilesHook):
    """Draws predictions beside the ground truth on the images.

    Args:
        out_dir: The folder the pictures go to.
        score_thr: Least score of a detection to be drawn. Defaults to 0.3.
    """

    def __init__(self, out_dir: str, score_thr: float = 0.3) -> None:
        super().__init__(out_dir)
        self.score_thr = score_thr

    def before_test(self, runner: Runner) -> None:
        """Name the pictures and make what draws them."""
        super().before_test(runner)
        labels = runner.test_dataloader.dataset.metainfo
        self.drawer = PredictionDrawer(runner.cfg, labels, self.score_thr)

    def write(self, image: str, sample: BaseDataElement, file: Path) -> None:
        """Draw."""
        self.drawer.draw(image, sample, file, truth=True)


@HOOKS.register_module()
class SaveLabelMapsHook(_PredictionFilesHook):
    """Keeps the predicted label maps as PNG files.

    Each pixel holds the number of its class as the data set's own label maps do: from 1
    on where their 0 is nothing (``reduce_zero_label``).  Over 255 classes the files
    have 16 bits.

    Args:
        out_dir: The folder they go to.
    """

    suffix = '.png'

    def write(self, image: str, sample: BaseDataElement, file: Path) -> None:
        """Write a label map."""
        labels = sample.pred_sem_seg.data.squeeze(0).cpu().numpy()
        if sample.get('reduce_zero_label', False):
            labels = labels + 1
        kind = np.uint8 if labels.max(initial=0) < 256 else np.uint16
        content = cv2.imencode('.png', labels.astype(kind))[1].tobytes()
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
        except OSError as error:
            raise UserError(f'{file} cannot be written: {error}') from error


def _list_samples(dataset: Any) -> Iterator[dict[str, Any]]:
    """The records of a data set's samples, also of one that wraps others."""
    if isinstance(dataset, BaseDataset) or not hasattr(dataset, 'datasets'):
        for index in range(len(dataset)):
            yield dataset.get_data_info(index)
        return
    for part in dataset.datasets:
        yield from _list_samples(part)
