"""Export a model in a precision that is given, found, or held to the metric."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmengine.config import Config

from mmrapidnet.apis.accuracy_control import export_controlled
from mmrapidnet.apis.auto_precision import MAX_DROP, export_fastest
from mmrapidnet.apis.isolated_export import export_precision
from mmrapidnet.apis.points import IMAGES
from mmrapidnet.deploy.export import Report
from mmrapidnet.utils.errors import UserError

AUTO = 'auto'


def export(
    cfg: Config,
    checkpoint: str,
    format: str,
    out: str | Path,
    precision: str = 'fp32',
    max_drop: float | None = None,
    metric_images: int | None = None,
    **arguments: Any,
) -> Report:
    """Export a checkpoint, see `mmrapidnet.deploy.export.export`.

    Args:
        cfg: The config the checkpoint was trained with.
        checkpoint: Path or URL of the checkpoint.
        format: One of `mmrapidnet.deploy.formats.FORMATS`.
        out: The file to write, with the format's suffix.
        precision: One that the format has, or 'auto' for the fastest that keeps the
            metrics. Defaults to 'fp32'.
        max_drop: What a metric may lose, in points: with 'auto', 0.5 by default; with
            'int8' layers that cost more stay in float. Defaults to None.
        metric_images: Images of the test set that the metric is measured on. Defaults
            to 100.
        **arguments: Further ones of `mmrapidnet.deploy.export.export`.

    Returns:
        What was exported.

    Raises:
        UserError: As `mmrapidnet.apis.isolated_export.export_precision`,
            `mmrapidnet.apis.auto_precision.export_fastest` and
            `mmrapidnet.apis.accuracy_control.export_controlled`.
    """
    _check(precision, max_drop, metric_images)
    asked = (cfg, checkpoint, format, out)
    images = IMAGES if metric_images is None else metric_images
    if precision == AUTO:
        max_drop = MAX_DROP if max_drop is None else max_drop
        return export_fastest(*asked, images=images, max_drop=max_drop, **arguments)
    if max_drop is not None:
        return export_controlled(*asked, max_drop=max_drop, images=images, **arguments)
    return export_precision(*asked, precision=precision, **arguments)


def _check(precision: str, max_drop: float | None, images: int | None) -> None:
    if max_drop is not None and precision not in (AUTO, 'int8'):
        raise UserError(
            f'--max-drop is for --precision int8 and auto, not for {precision}'
        )
    if max_drop is not None and not max_drop >= 0:
        raise UserError(f'--max-drop {max_drop}: give 0 or more points')
    if images is not None and precision != AUTO and max_drop is None:
        raise UserError(
            '--metric-images is for --precision auto and for int8 with --max-drop'
        )
