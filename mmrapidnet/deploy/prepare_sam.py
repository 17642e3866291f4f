"""The encoder or the decoder of a segment-anything model, prepared for an export."""

from __future__ import annotations

from typing import Any

import mmcv
import numpy as np
import torch
from mmcv.transforms import Compose, LoadImageFromFile
from mmengine.registry import init_default_scope

from mmrapidnet.checkpoints.state_dict import read_checkpoint
from mmrapidnet.deploy.formats import check_supported
from mmrapidnet.deploy.fuse import fuse
from mmrapidnet.deploy.graphs import Graph
from mmrapidnet.deploy.inference import to_batch
from mmrapidnet.deploy.loading import check_segments_anything, load_sam
from mmrapidnet.deploy.metadata import describe
from mmrapidnet.deploy.prepare import Prepared, Request, find_calibration
from mmrapidnet.deploy.preprocess import Read, first_test_image, read_image
from mmrapidnet.deploy.sam_files import pad_image
from mmrapidnet.deploy.sam_graphs import Encoder, build_sam_graph
from mmrapidnet.models.sam import SegmentAnything
from mmrapidnet.models.sam.segment_anything import resize_image
from mmrapidnet.utils.errors import UserError

# Points of each kind, in two prompts.
_LABELS = [[1, 0, -1, 2, 3], [0, 1, 2, 3, -1]]


def prepare_sam(request: Request) -> Prepared:
    """Prepare a part of a `SegmentAnything`.

    Args:
        request: What is asked for.

    Returns:
        What is to be written.

    Raises:
        UserError: As `mmrapidnet.deploy.export.export`.
    """
    cfg, part = request.cfg, request.part
    check_segments_anything(cfg)
    check_supported(request.writer, part, request.precision)
    if request.size:
        raise UserError(
            f'--size: the {part} of a SegmentAnything has the image_size of its config'
        )
    init_default_scope(cfg.get('default_scope') or 'mmengine')
    image = request.image or first_test_image(cfg)
    model = fuse(load_sam(cfg, read_checkpoint(request.checkpoint), request.checkpoint))
    encoder, read = _build_reader(model)
    pixels = to_batch(read(image))
    with torch.no_grad():
        embedding = encoder(torch.from_numpy(pixels))[0].numpy()
    graph = build_sam_graph(model, part)
    if part == 'encoder':
        inputs = (pixels,)
        settings = {
            'pad_value': encoder.pad_value,
            'embedding': list(embedding.shape[1:]),
        }
    else:
        inputs = (embedding, *_make_prompts(graph, model.image_size))
        settings = {}
    metadata = _describe(request, graph, inputs[0])
    metadata['settings'] = settings
    calibration = find_calibration(request, read)
    return Prepared(graph, metadata, inputs, image, calibration)


def _build_reader(model: SegmentAnything) -> tuple[Encoder, Read]:
    """The encoder, and what reads images for it as a predictor does."""
    encoder, load = Encoder(model), Compose([LoadImageFromFile()])

    def read(path: str) -> np.ndarray:
        image = mmcv.bgr2rgb(read_image(load, path)['img'])
        image = resize_image(image, model.transform)
        return pad_image(image, model.image_size, encoder.pad_value)

    return encoder, read


def _make_prompts(graph: Graph, image_size: int) -> list[np.ndarray]:
    """Points, boxes and half a mask: each branch of the decoder tells in its output."""
    labels = np.array(_LABELS, np.float32)
    points = np.random.default_rng(0).uniform(0, image_size, (*labels.shape, 2))
    shape = graph.prompts['mask_input']
    mask = np.linspace(-10, 10, np.prod(shape)).reshape(shape)
    has_mask = np.array([0.5])
    return [x.astype(np.float32) for x in (points, labels, mask, has_mask)]


def _describe(request: Request, graph: Graph, image: np.ndarray) -> dict[str, Any]:
    _, channels, *size = image.shape
    metadata = describe(
        request.cfg, graph, request.precision, request.checkpoint, size, channels
    )
    order = 'rgb' if graph.kind == 'encoder' else 'none'
    metadata['input']['channel_order'] = order
    if graph.kind == 'decoder':
        metadata['input']['range'] = None
    return metadata
