"""LiteRT, once TensorFlow Lite: fp32, half-precision weights or int8; on the CPU."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from ai_edge_litert.tools import flatbuffer_utils
from torch import Tensor, nn

from mmrapidnet.deploy import metadata as about
from mmrapidnet.deploy.formats import (
    SUFFIXES,
    conversion_to,
    first_line,
    require_calibration,
    session,
)
from mmrapidnet.deploy.formats.quiet import quiet
from mmrapidnet.utils.errors import in_one_line

if TYPE_CHECKING:
    from ai_edge_quantizer.recipe_manager import RecipeManager

    from mmrapidnet.deploy.graphs import Graph

NAME = 'litert'
SUFFIX = SUFFIXES[NAME]
PRECISIONS = dict.fromkeys(
    ('backbone', 'classifier', 'segmenter', 'dense'), ('fp32', 'fp16', 'int8')
)
RUNNABLE = True

# What the converter calls the function that a file holds.
_SIGNATURE = 'serving_default'


def is_dynamic(graph: Graph) -> bool:
    """Whether a file can hold a graph for every height and width.

    XNNPACK, which computes on the CPU, takes maps of known sizes only.
    """
    return False


def write(
    graph: Graph,
    example: Tensor,
    path: Path,
    metadata: dict[str, Any],
    calibration: Iterable[np.ndarray] | None = None,
) -> None:
    """Write a graph as LiteRT's ``.tflite``, with the metadata inside.

    Its one signature has the graph's names. 'fp16' has weights of half the size,
    computed with in fp32; 'int8' has weights and activations quantised after training,
    between an image and outputs of fp32.
    """
    precision, packages = metadata['precision'], ['litert-torch', 'ai-edge-litert']
    images = require_calibration(calibration) if precision == 'int8' else []
    with conversion_to(NAME), quiet():
        content = _convert(graph, example)
        if precision != 'fp32':
            content = _quantize(content, graph.input, precision, images)
            packages.append('ai-edge-quantizer')
    path.write_bytes(_describe(content, about.to_text(metadata, *packages, batch=1)))


class Session(session.Session):
    """A LiteRT file, which takes one image at a time, of one size."""

    def _open(self) -> str | None:
        content = self.path.read_bytes()
        what = f'{self.path} is not a LiteRT file that can be run'
        with in_one_line(what, first_line), quiet():
            self._interpreter = Interpreter(
                model_content=content, num_threads=self.threads
            )
            return _find_description(content)

    def _prepare(self) -> None:
        with in_one_line(f'{self.path} cannot be run', first_line), quiet():
            self._interpreter.allocate_tensors()
            self._runner = self._interpreter.get_signature_runner(_SIGNATURE)

    def _run(self, image: np.ndarray) -> Iterable[np.ndarray]:
        name = self.metadata['input']['name']
        found = self._runner(**{name: np.ascontiguousarray(image)})
        return (found[name] for name in self.metadata['outputs'])


class _Named(nn.Module):
    """A graph that gives its outputs by name, which the signature then has."""

    def __init__(self, graph: Graph) -> None:
        super().__init__()
        self.module, self.outputs = graph.module, graph.outputs

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        return dict(zip(self.outputs, self.module(image), strict=True))


def _convert(graph: Graph, example: Tensor) -> bytes:
    import litert_torch

    litert_torch.config.show_progress = False
    model = litert_torch.convert(
        _Named(graph).eval(), sample_kwargs={graph.input: example}
    )
    return _repeat_as_torch(model.model_content())


def _repeat_as_torch(content: bytes) -> bytes:
    """Let maps be enlarged by repeating the values that PyTorch repeats.

    The converter (litert-converter 0.5.0) has TensorFlow Lite look from the centres of
    pixels: with sizes that are no multiples, such as 18 and 35, other values come out.
    """
    model = flatbuffer_utils.read_model_from_bytearray(bytearray(content))
    for graph in model.subgraphs:
        for operator in graph.operators:
            if isinstance(
                operator.builtinOptions, schema.ResizeNearestNeighborOptionsT
            ):
                operator.builtinOptions.halfPixelCenters = False
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


def _quantize(
    content: bytes, name: str, precision: str, images: Iterable[np.ndarray]
) -> bytes:
    """Quantise a file after training; ranges reach to the extremes of all images."""
    from ai_edge_quantizer.calibrator import Calibrator
    from ai_edge_quantizer.quantizer import Quantizer
    from ai_edge_quantizer.utils.qsv_utils import min_max_update

    recipe, ranges = _make_recipe(precision), None
    if precision == 'int8':
        calibrator = Calibrator(content, qsv_update_func=min_max_update)
        for image in images:  # one at a time: it would read all of them first
            calibrator.calibrate({_SIGNATURE: [{name: image}]}, recipe)
        ranges = calibrator.get_model_qsvs()
    quantizer = Quantizer(content, recipe.get_quantization_recipe())
    result = quantizer.quantize(
        ranges, enable_progress_bar=False, enable_progress_report=False
    )
    return bytes(result.quantized_model)


def _make_recipe(precision: str) -> RecipeManager:
    """What becomes of each operator; those that cannot be so stay as they are."""
    from ai_edge_quantizer.algorithm_manager import AlgorithmName
    from ai_edge_quantizer.qtyping import TFLOperationName
    from ai_edge_quantizer.recipe_manager import RecipeManager

    recipe, every = RecipeManager(), ('.*', TFLOperationName.ALL_SUPPORTED)
    if precision == 'fp16':
        recipe.add_weight_only_config(
            *every, num_bits=16, algorithm_key=AlgorithmName.FLOAT_CASTING
        )
        return recipe
    recipe.add_static_config(*every, activation_num_bits=8, weight_num_bits=8)
    for end in (TFLOperationName.INPUT, TFLOperationName.OUTPUT):
        recipe.add_quantization_config(
            '.*', end, algorithm_key=AlgorithmName.NO_QUANTIZE
        )
    return recipe


def _describe(content: bytes, text: str) -> bytes:
    """Put metadata into a file."""
    model = flatbuffer_utils.read_model_from_bytearray(bytearray(content))
    entry = schema.MetadataT(about.KEY, len(model.buffers))
    model.metadata = [*(model.metadata or ()), entry]
    model.buffers.append(schema.BufferT(np.frombuffer(text.encode(), np.uint8)))
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


def _find_description(content: bytes) -> str | None:
    """Find the metadata in a file."""
    model = schema.Model.GetRootAs(content)
    for index in range(model.MetadataLength()):
        entry = model.Metadata(index)
        if entry.Name() == about.KEY.encode():
            return model.Buffers(entry.Buffer()).DataAsNumpy().tobytes().decode()
    return None
