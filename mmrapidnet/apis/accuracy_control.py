"""int8 that keeps the metric: layers that cost too much stay in float."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.runner import Runner

from mmrapidnet.apis.isolated_export import export_isolated
from mmrapidnet.apis.points import IMAGES, preparing_test, quiet, read_points
from mmrapidnet.deploy.accuracy_control import AccuracyControl, Run
from mmrapidnet.deploy.export import UNCALIBRATED, Report, export
from mmrapidnet.deploy.formats import load_format
from mmrapidnet.deploy.inference import ExportedModel, Outputs
from mmrapidnet.deploy.postprocess import Size
from mmrapidnet.utils.errors import UserError


def export_controlled(
    cfg: Config,
    checkpoint: str,
    format: str,
    out: str | Path,
    max_drop: float,
    images: int = IMAGES,
    **arguments: Any,
) -> Report:
    """Export in int8, as many layers as the metric allows.

    The metric is the mean of those of `mmrapidnet.apis.points.read_points`, on images
    of the test set that are stretched to the one size that the file takes. All of it
    is done in a process of its own, which networks that nobody ran before may end.

    Args:
        cfg: The config the checkpoint was trained with.
        checkpoint: Path or URL of the checkpoint.
        format: One that has accuracy control: 'openvino'.
        out: The file to write, with the format's suffix.
        max_drop: What the metric may lose against the file in fp32, in points.
        images: How many images of the test set. Defaults to 100.
        **arguments: Further ones of `mmrapidnet.deploy.export.export`.

    Returns:
        What was exported; ``metadata['accuracy_control']`` says what was found.

    Raises:
        UserError: As `mmrapidnet.deploy.export.export`; also if the format has no
            accuracy control, the metric loses more whatever is left in float, or the
            process dies.
    """
    if not getattr(load_format(format), 'CONTROLS_ACCURACY', False):
        raise UserError(
            f'{format} cannot hold int8 to a metric (--max-drop): take openvino'
        )
    return export_isolated(
        'int8 cannot be held to the metric on this machine (leave --max-drop out, or '
        'take another precision)',
        export_here,
        cfg,
        checkpoint,
        format,
        out,
        max_drop=max_drop,
        images=images,
        **arguments,
    )


def export_here(
    cfg: Config,
    checkpoint: str,
    format: str,
    out: Path,
    max_drop: float,
    images: int,
    **arguments: Any,
) -> Report:
    """Do what `export_controlled` does, in this process.

    Args:
        cfg: As there, and so all others.
        checkpoint: Path or URL of the checkpoint.
        format: One that has accuracy control.
        out: The file to write.
        max_drop: What the metric may lose, in points.
        images: How many images of the test set.
        **arguments: Further ones of `mmrapidnet.deploy.export.export`.

    Returns:
        What was exported.
    """
    with tempfile.TemporaryDirectory() as folder:
        # What the metric is measured with: only its network is exchanged.
        file = Path(folder) / out.name
        uncalibrated = {**arguments, **UNCALIBRATED}
        report = export(cfg, checkpoint, format, file, **uncalibrated)
        with measuring(cfg, report, images) as metric:
            control = AccuracyControl(metric, len(metric), max_drop)
            return export(
                cfg,
                checkpoint,
                format,
                out,
                precision='int8',
                control=control,
                **arguments,
            )


class NetworkMetric:
    """The metric of networks that are no files yet.

    Args:
        runner: What tests the file of another precision of the same model.
        size: Height and width of the images that the networks take.

    Its length is the number of images.
    """

    def __init__(self, runner: Runner, size: tuple[int, int]) -> None:
        self._model, loop = runner.model, runner.test_loop
        self._dataset, self._evaluator = loop.dataloader.dataset, loop.evaluator
        self._size = size
        self._model.eval()

    def __len__(self) -> int:
        return len(self._dataset)

    @torch.no_grad()
    def __call__(self, run: Run, numbers: Sequence[int]) -> float:
        """Test a network.

        Args:
            run: The network, as a session is a function of a batch of one image.
            numbers: Which images.

        Returns:
            The mean of the metrics, in points.
        """
        self._model.file = _Network(self._model.file, run, self._size)
        for number in numbers:
            batch = pseudo_collate([self._dataset[number]])
            samples = self._model.test_step(batch)
            self._evaluator.process(data_samples=samples, data_batch=batch)
        with quiet():
            points = read_points(self._evaluator.evaluate(len(numbers)))
        return float(np.mean(list(points.values())))


@contextmanager
def measuring(cfg: Config, report: Report, images: int) -> Iterator[NetworkMetric]:
    """Measure networks as the file of a report is measured.

    Args:
        cfg: The config.
        report: What was exported of the model, in any precision.
        images: How many images.

    Yields:
        The metric.
    """
    with preparing_test(cfg, str(report.path), images) as runner:
        with quiet():
            metric = NetworkMetric(runner, tuple(report.size))
        yield metric


class _Network(ExportedModel):
    """A network in memory in the place of a file, for images of one size."""

    def __init__(self, file: ExportedModel, run: Run, size: tuple[int, int]) -> None:
        self.path, self.metadata, self._session = file.path, file.metadata, run
        self._size = size

    def predict_all(
        self,
        images: Sequence[np.ndarray],
        sizes: Sequence[Size | None],
        scales: Sequence[tuple[float, float] | None],
    ) -> list[Outputs]:
        """Predict on images that are stretched if need be."""
        images, sizes, scales = list(images), list(sizes), list(scales)
        for number, image in enumerate(images):
            if image.shape[:2] != self._size:
                sizes[number] = sizes[number] or image.shape[:2]
                scales[number] = None
                images[number] = cv2.resize(image, self._size[::-1])
        return super().predict_all(images, sizes, scales)
