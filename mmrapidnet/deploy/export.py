"""Export a trained model to a file that runs without PyTorch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from rich.console import Console

from mmrapidnet.checkpoints.state_dict import read_checkpoint
from mmrapidnet.config.libraries import require_library
from mmrapidnet.deploy.formats import check_supported, load_format
from mmrapidnet.deploy.fuse import fuse
from mmrapidnet.deploy.graphs import Graph, build_graph, require_torch
from mmrapidnet.deploy.inference import ExportedModel, read_settings, to_batch
from mmrapidnet.deploy.loading import load_model
from mmrapidnet.deploy.metadata import describe
from mmrapidnet.deploy.preprocess import (
    CalibrationImages,
    build_reader,
    first_test_image,
)
from mmrapidnet.deploy.verify import Difference, compare, make_table
from mmrapidnet.utils.atomic import replace_atomic
from mmrapidnet.utils.errors import UserError

CALIBRATION_IMAGES = 300
SMALLEST = 32


@dataclass(frozen=True)
class Report:
    """What was exported.

    Attributes:
        path: The file.
        metadata: What it says of itself.
        differences: From the fused model in PyTorch on one image; None if the file
            cannot be run on this system.
    """

    path: Path
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
) -> Report:
    """Export a checkpoint, run the file beside PyTorch and print the differences.

    Nothing appears, or changes, under the file's name unless all goes well.

    Args:
        cfg: The config the checkpoint was trained with.
        checkpoint: Path or URL of the checkpoint.
        format: 'onnx', 'openvino', 'coreml' or 'ncnn'.
        out: The file to write, with the format's suffix.
        part: 'whole', 'backbone', or 'dense' for Mask R-CNN without its RoI part.
            Defaults to 'whole'.
        precision: One that the format has. Defaults to 'fp32'.
        size: Height and width to fix. Defaults to None: any size where format and
            model allow it, otherwise that which the config's test pipeline gives
            the image.
        image: The picture to compare on. Defaults to the first of the config's test
            set.
        calibration_images: How many images of the config's data set int8 takes its
            ranges from. Defaults to 300.

    Returns:
        What was exported.

    Raises:
        UserError: If the format cannot hold the model, the checkpoint does not fit,
            there is no image to compare on, or the file differs from PyTorch beyond
            the tolerances of `mmrapidnet.deploy.verify`, or if PyTorch is too old.
    """
    require_torch()
    out = Path(out)
    writer = load_format(format)
    _check_request(writer, out, precision, size, calibration_images)
    init_default_scope(require_library(cfg))
    image = image or first_test_image(cfg)
    pixels = build_reader(cfg, size)(image)

    model = fuse(load_model(cfg, read_checkpoint(checkpoint), checkpoint))
    graph = build_graph(model, part)
    check_supported(writer, graph.kind, precision)
    if size is None and not writer.is_dynamic(graph):
        size = pixels.shape[:2]
        _say_fixed(out, size, graph, writer.NAME)
    metadata = describe(cfg, graph, precision, checkpoint, size, pixels.shape[2])
    metadata['settings'] = read_settings(model, graph.kind)
    calibration = None
    if precision == 'int8':
        calibration = _find_calibration(cfg, calibration_images, size)

    with replace_atomic(out) as path:
        example = torch.from_numpy(to_batch(pixels))
        writer.write(graph, example, path, metadata, calibration)
        if writer.RUNNABLE:
            file = ExportedModel(path, isolated=True)
            differences = compare(graph, file, pixels, precision)
            _check(differences, out, Path(image).name, pixels.shape[:2])
        else:
            differences = None
            writer.read_metadata(path)  # at least it can be read
            Console().print(
                f'{out.name} was not run here, as nothing on this system runs it: only '
                'its structure was checked'
            )
    return Report(out, metadata, differences)


def _check_request(
    writer: ModuleType,
    out: Path,
    precision: str,
    size: tuple[int, int] | None,
    calibration_images: int | None,
) -> None:
    if not out.name.endswith(writer.SUFFIX):
        raise UserError(
            f'--out {out}: a file for {writer.NAME} is called *{writer.SUFFIX}'
        )
    if size is not None and min(size) < SMALLEST:
        raise UserError(
            f'--size {size[0]} {size[1]}: an image has at least {SMALLEST} pixels each '
            'way, the largest stride of the backbones'
        )
    if calibration_images is not None and precision != 'int8':
        raise UserError(
            f'--calibration-images is for --precision int8, not for {precision}'
        )


def _say_fixed(out: Path, size: tuple[int, int], graph: Graph, name: str) -> None:
    reason = f'{name} holds this model for one size only'
    if not graph.dynamic:
        reason = f'{graph.bound_by} is right for one size only'
    Console().print(
        f'{out.name} will take images of {size[0]}x{size[1]} (height x width), or of '
        f'what --size gives: {reason}',
        soft_wrap=True,
    )


def _find_calibration(
    cfg: Config, count: int | None, size: tuple[int, int] | None
) -> CalibrationImages:
    count = CALIBRATION_IMAGES if count is None else count
    images = CalibrationImages(cfg, count, size)
    if len(images) < count:
        Console().print(
            f'calibrating on {len(images)} images instead of {count}: the data set '
            'has no more'
        )
    return images


def _check(
    differences: list[Difference], out: Path, image: str, size: tuple[int, int]
) -> None:
    """Print the differences, and raise if one is beyond its tolerance."""
    title = f'{out.name} against PyTorch\n{image}, {size[0]}x{size[1]}'
    Console().print(make_table(title, differences))
    beyond = [d for d in differences if not d.is_tolerable]
    if beyond:
        worst = max(beyond, key=lambda d: d.relative / d.tolerance)
        raise UserError(
            f'{out} was not written: its {worst.output} would differ from PyTorch by '
            f'{worst.relative:.1e}, where {worst.tolerance:.1e} is tolerated'
        )
