"""Export a trained model to a file that runs without PyTorch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from rich.console import Console

from mmrapidnet.deploy import sam_graphs
from mmrapidnet.deploy.accuracy_control import AccuracyControl
from mmrapidnet.deploy.formats import load_format
from mmrapidnet.deploy.graphs import require_torch
from mmrapidnet.deploy.isolated import IsolatedSession
from mmrapidnet.deploy.prepare import Prepared, Request, prepare
from mmrapidnet.deploy.prepare_sam import prepare_sam
from mmrapidnet.deploy.verify import Difference, compare, make_table
from mmrapidnet.utils.atomic import replace_atomic
from mmrapidnet.utils.errors import UserError

SMALLEST = 32
# What int8 alone is given, given to another precision.
UNCALIBRATED = {'calibration_images': None, 'calibration_folder': None}


@dataclass(frozen=True)
class Report:
    """What was exported.

    Attributes:
        path: The file.
        size: Height and width of the image that it was compared on; of segment
            anything's decoder, of the embedding.
        metadata: What it says of itself.
        differences: From the fused model in PyTorch on one image; None if the file
            cannot be run on this system.
    """

    path: Path
    size: tuple[int, int]
    metadata: dict[str, Any]
    differences: list[Difference] | None


def export(
    cfg: Config,
    checkpoint: str,
    format: str,
    out: str | Path,
    part: str = 'whole',
    precision: str = 'fp32',
    size: tuple[int, int] | None = None,
    image: str | None = None,
    calibration_images: int | None = None,
    calibration_folder: str | None = None,
    control: AccuracyControl | None = None,
    measured: bool = False,
) -> Report:
    """Export a checkpoint, run the file beside PyTorch and print the differences.

    Nothing appears, or changes, under the file's name unless all goes well.

    Args:
        cfg: The config the checkpoint was trained with.
        checkpoint: Path or URL of the checkpoint.
        format: 'onnx', 'openvino', 'coreml', 'ncnn', 'executorch' or 'litert'.
        out: The file to write, with the format's suffix.
        part: 'whole', 'backbone', or 'dense' for a detector in two stages without the
            second; of a `SegmentAnything` 'encoder' or 'decoder'. Defaults to 'whole'.
        precision: One that the format has. Defaults to 'fp32'.
        size: Height and width to fix. Defaults to None: any size where format and
            model allow it, otherwise that which the config's test pipeline gives
            the image.
        image: The picture to compare on. Defaults to the first of the config's test
            set.
        calibration_images: How many images int8 takes its ranges from. Defaults to
            300.
        calibration_folder: The folder of those images. Defaults to None: they are of
            the config's data set.
        control: The metric that int8 is held to; the file then takes images of one
            size. Defaults to none.
        measured: Whether the file's metric is measured after this, so that int8 may
            differ more on the one image. Defaults to False.

    Returns:
        What was exported.

    Raises:
        UserError: If the format cannot hold the model, the checkpoint does not fit,
            there is no image to compare on, or the file differs from PyTorch beyond
            the tolerances of `mmrapidnet.deploy.verify`, or if PyTorch is too old.
    """
    require_torch()
    out, writer = Path(out), load_format(format)
    request = Request(
        cfg=cfg,
        checkpoint=checkpoint,
        writer=writer,
        out=out,
        part=part,
        precision=precision,
        size=size,
        image=image,
        calibration_images=calibration_images,
        calibration_folder=calibration_folder,
        control=control,
    )
    _check_request(request)
    prepared = (prepare_sam if part in sam_graphs.PARTS else prepare)(request)
    graph, metadata = prepared.graph, prepared.metadata
    with replace_atomic(out) as path:
        example = torch.from_numpy(prepared.inputs[0])
        extra = {} if control is None else {'control': control}
        added = writer.write(
            graph, example, path, metadata, prepared.calibration, **extra
        )
        metadata.update(added or {})
        if writer.RUNNABLE:
            differences = compare(
                graph,
                IsolatedSession(path),
                prepared.inputs,
                precision,
                measured=measured or control is not None,
            )
            _check(differences, out, prepared)
        else:
            differences = None
            writer.read_metadata(path)  # at least it can be read
            Console().print(
                f'{out.name} was not run here, as nothing on this system runs it: only '
                'its structure was checked'
            )
    return Report(out, prepared.inputs[0].shape[2:], metadata, differences)


def _check_request(request: Request) -> None:
    out, writer, size = request.out, request.writer, request.size
    if not out.name.endswith(writer.SUFFIX):
        raise UserError(
            f'--out {out}: a file for {writer.NAME} is called *{writer.SUFFIX}'
        )
    if size is not None and min(size) < SMALLEST:
        raise UserError(
            f'--size {size[0]} {size[1]}: an image has at least {SMALLEST} pixels each '
            'way, the largest stride of the backbones'
        )
    for name in ('calibration_images', 'calibration_folder'):
        if getattr(request, name) is not None and request.precision != 'int8':
            raise UserError(
                f'--{name.replace("_", "-")} is for --precision int8, not for '
                f'{request.precision}'
            )
    if request.control and not getattr(writer, 'CONTROLS_ACCURACY', False):
        raise UserError(
            f'{writer.NAME} cannot hold int8 to a metric (--max-drop): take openvino'
        )


def _check(differences: list[Difference], out: Path, prepared: Prepared) -> None:
    """Print the differences, and raise if one is beyond its tolerance."""
    height, width = prepared.inputs[0].shape[2:]
    image = f'{Path(prepared.image).name}, {height}x{width}'
    if prepared.graph.prompts:
        image = f'prompts on {Path(prepared.image).name}'
    table = make_table(f'{out.name} against PyTorch\n{image}', differences)
    Console().print(table)
    beyond = [d for d in differences if not d.is_tolerable]
    if beyond:
        worst = max(beyond, key=lambda d: d.relative / d.tolerance)
        raise UserError(
            f'{out} was not written: its {worst.output} would differ from PyTorch by '
            f'{worst.relative:.1e}, where {worst.tolerance:.1e} is tolerated'
        )
