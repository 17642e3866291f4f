"""From a request for an export to the graph, what it is told and what it is shown."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from mmengine.config import Config
from mmengine.registry import init_default_scope
from rich.console import Console

from mmrapidnet.checkpoints.state_dict import read_checkpoint
from mmrapidnet.config.libraries import require_library
from mmrapidnet.config.type_names import type_name
from mmrapidnet.deploy.accuracy_control import AccuracyControl
from mmrapidnet.deploy.formats import check_supported
from mmrapidnet.deploy.fuse import fuse
from mmrapidnet.deploy.graphs import Graph, build_graph
from mmrapidnet.deploy.inference import read_settings, to_batch
from mmrapidnet.deploy.loading import load_model
from mmrapidnet.deploy.metadata import describe
from mmrapidnet.deploy.preprocess import (
    CalibrationImages,
    Read,
    build_reader,
    find_calibration_images,
    first_test_image,
)
from mmrapidnet.utils.errors import UserError

CALIBRATION_IMAGES = 300


@dataclass(frozen=True)
class Request:
    """What is asked of `mmrapidnet.deploy.export.export`, whose arguments these are.

    Attributes:
        writer: The format's module.
    """

    cfg: Config
    checkpoint: str
    writer: ModuleType
    out: Path
    part: str
    precision: str
    size: tuple[int, int] | None
    image: str | None
    calibration_images: int | None
    calibration_folder: str | None
    control: AccuracyControl | None = None


@dataclass(frozen=True)
class Prepared:
    """What a format's ``write`` is given, and what the file is compared on.

    Attributes:
        graph: The graph.
        metadata: What the file says of itself.
        inputs: Those of the graph: an image, float32 (1, C, H, W), and prompts.
        image: The path of the image.
        calibration: Images for int8, otherwise None.
    """

    graph: Graph
    metadata: dict[str, Any]
    inputs: tuple[np.ndarray, ...]
    image: str
    calibration: Iterable[np.ndarray] | None


def prepare(request: Request) -> Prepared:
    """Prepare a model of mmdet, mmseg or mmpretrain.

    Args:
        request: What is asked for.

    Returns:
        What is to be written.

    Raises:
        UserError: As `mmrapidnet.deploy.export.export`.
    """
    cfg, writer, size = request.cfg, request.writer, request.size
    _refuse_segment_anything(cfg)
    init_default_scope(require_library(cfg))
    image = request.image or first_test_image(cfg)
    read = build_reader(cfg, size)
    pixels = read(image)
    content = read_checkpoint(request.checkpoint)
    model = fuse(load_model(cfg, content, request.checkpoint))
    graph = build_graph(model, request.part)
    check_supported(writer, graph.kind, request.precision)
    if size is None and (request.control or not writer.is_dynamic(graph)):
        size = pixels.shape[:2]
        read = build_reader(cfg, size)
        _say_fixed(request, size, graph)
    metadata = describe(
        cfg, graph, request.precision, request.checkpoint, size, pixels.shape[2]
    )
    metadata['settings'] = read_settings(model, graph)
    calibration = find_calibration(request, read)
    return Prepared(graph, metadata, (to_batch(pixels),), image, calibration)


def find_calibration(request: Request, read: Read) -> CalibrationImages | None:
    """Find the images that int8 takes its ranges from.

    Args:
        request: What is asked for.
        read: From the path of an image to what the file takes.

    Returns:
        The images; None for another precision.
    """
    if request.precision != 'int8':
        return None
    count = request.calibration_images
    count = CALIBRATION_IMAGES if count is None else count
    paths = find_calibration_images(request.cfg, request.calibration_folder)
    images = CalibrationImages(paths, read, count)
    if len(images) < count:
        Console().print(
            f'calibrating on {len(images)} images instead of {count}: the data set '
            'has no more'
        )
    return images


def _refuse_segment_anything(cfg: Config) -> None:
    model = cfg.get('model')
    if isinstance(model, dict) and type_name(model) == 'SegmentAnything':
        raise UserError(
            f'the SegmentAnything of {cfg.filename} becomes two files: give '
            '--part encoder for one and --part decoder for the other'
        )


def _say_fixed(request: Request, size: tuple[int, int], graph: Graph) -> None:
    reason = f'{request.writer.NAME} holds this model for one size only'
    if request.control:
        reason = 'it is held to the metric at one size'
    elif not graph.dynamic:
        reason = f'{graph.bound_by} is right for one size only'
    Console().print(
        f'{request.out.name} will take images of {size[0]}x{size[1]} (height x width), '
        f'or of what --size gives: {reason}',
        soft_wrap=True,
    )
