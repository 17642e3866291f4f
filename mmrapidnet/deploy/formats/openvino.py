"""OpenVINO: fp32, half-precision weights, bfloat16 or int8; run on the CPU."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import openvino
from torch import Tensor

from mmrapidnet.deploy import metadata as about
from mmrapidnet.deploy.accuracy_control import AccuracyControl
from mmrapidnet.deploy.formats import (
    KINDS,
    SUFFIXES,
    conversion_to,
    first_line,
    onnx_model,
    openvino_int8,
    session,
)
from mmrapidnet.utils.env import has_bf16
from mmrapidnet.utils.errors import UserError, in_one_line

if TYPE_CHECKING:
    from mmrapidnet.deploy.graphs import Graph

NAME = 'openvino'
SUFFIX = SUFFIXES[NAME]
PRECISIONS = {
    kind: ('fp32', 'fp16', 'bf16', *(('int8',) if kind != 'decoder' else ()))
    for kind in KINDS
}
RUNNABLE = True
CONTROLS_ACCURACY = True

# Networks of fixed shapes that a session keeps, for as many sizes of images.
COMPILED = 8


def is_dynamic(graph: Graph) -> bool:
    """Whether a file can hold a graph for every height and width."""
    return graph.dynamic


def write(
    graph: Graph,
    example: Tensor,
    path: Path,
    metadata: dict[str, Any],
    calibration: Iterable[np.ndarray] | None = None,
    control: AccuracyControl | None = None,
) -> dict[str, Any]:
    """Write a graph as OpenVINO's ``.xml``, with the weights in the ``.bin`` beside.

    'fp16' has weights of half the size, computed with in fp32; 'bf16' is stored in
    fp32, computed with in bfloat16 where the CPU can; 'int8' has weights and
    activations quantised after training, what is not in bfloat16 where the CPU can.

    Returns:
        What it adds to the metadata: with ``control`` what that found, see
        `mmrapidnet.deploy.formats.openvino_int8.quantize_controlled`.
    """
    model, packages, added = _convert(graph, metadata['input']), ['openvino'], {}
    if metadata['precision'] == 'int8':
        packages.append('nncf')
        if control is None:
            model = openvino_int8.quantize(model, calibration)
        else:
            model, added['accuracy_control'] = openvino_int8.quantize_controlled(
                model, calibration, graph.outputs, control
            )
    text = about.to_text({**metadata, **added}, *packages)
    model.set_rt_info(text, [about.KEY])
    half = metadata['precision'] == 'fp16'
    openvino.save_model(model, path, compress_to_fp16=half)
    return added


class Session(session.Session):
    """An OpenVINO file, run for the least latency.

    A network of known shapes runs faster than one for any: where the file or ``size``
    fixes the size of the images, the network is compiled for each number of them; a
    decoder, for which it makes no difference, once for any number of prompts.

    So it is for each number and size where the file is int8: a network of 8 bits that
    was compiled for any shape reads beyond its memory and ends the process on Intel's
    processors with AMX (github.com/openvinotoolkit/openvino/issues/37577, up to
    OpenVINO 2026.4; seen in a depthwise convolution).
    """

    def _open(self) -> str | None:
        weights = self.path.with_suffix('.bin')
        if not weights.is_file():
            raise UserError(
                f'{self.path} lacks its weights: {weights} must lie beside it'
            )
        self._core = openvino.Core()
        what = f'{self.path} is not an OpenVINO file that can be run'
        with in_one_line(what, first_line):
            self._model = self._core.read_model(self.path)
        if not self._model.has_rt_info([about.KEY]):
            return None
        return self._model.get_rt_info([about.KEY]).astype(str)

    def _prepare(self) -> None:
        precision, taken = self.metadata['precision'], self.metadata['input']
        low = precision in ('bf16', 'int8') and has_bf16()
        options = {
            'PERFORMANCE_HINT': 'LATENCY',
            # By itself it computes in bfloat16 wherever the CPU can.
            'INFERENCE_PRECISION_HINT': 'bf16' if low else 'f32',
        }
        if self.threads is not None:
            options['INFERENCE_NUM_THREADS'] = self.threads
        compile_for = partial(_compile, self._core, self._model, options)
        # Those used last are kept: every network has its own copy of the weights.
        self._request = lru_cache(COMPILED)(compile_for)
        size = self.size or taken['size']
        has_prompts = len(self._model.inputs) > 1
        self._any_shape = has_prompts or (not size and precision != 'int8')
        if self._any_shape:
            self._request(None)
        elif size:
            self._request((1, about.channels_of(self.metadata), *size))

    def _run(self, image: np.ndarray, *prompts: np.ndarray) -> Iterable[np.ndarray]:
        request = self._request(None if self._any_shape else image.shape)
        return request.infer([image, *prompts], share_inputs=True).values()


def _compile(
    core: openvino.Core,
    model: openvino.Model,
    options: dict[str, Any],
    shape: tuple[int, ...] | None,
) -> openvino.InferRequest:
    """The network compiled for one shape of the input, or for any."""
    if shape is not None:
        model.reshape(list(shape))
    return core.compile_model(model, 'CPU', options).create_infer_request()


def _convert(graph: Graph, image: dict[str, Any]) -> openvino.Model:
    """By way of ONNX, which OpenVINO reads best; nothing of it is left."""
    with tempfile.TemporaryDirectory() as folder, conversion_to(NAME):
        import onnx_ir

        file = Path(folder) / 'graph.onnx'
        onnx_ir.save(onnx_model.convert(graph, image), file)
        return openvino.convert_model(file)
