"""OpenVINO: fp32, half-precision weights, bfloat16 or int8; run on the CPU."""

from __future__ import annotations

import contextlib
import io
import logging
import tempfile
from collections.abc import Iterable, Sized
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import openvino
from torch import Tensor

from mmrapidnet.deploy import metadata as about
from mmrapidnet.deploy.formats import (
    KINDS,
    SUFFIXES,
    check_supported,
    conversion_to,
    first_line,
    needs_extra,
    onnx_model,
)
from mmrapidnet.utils.env import has_bf16
from mmrapidnet.utils.errors import UserError

if TYPE_CHECKING:
    from mmrapidnet.deploy.graphs import Graph

NAME = 'openvino'
SUFFIX = SUFFIXES[NAME]
_INT8 = ('backbone', 'classifier', 'segmenter')
PRECISIONS = {
    kind: ('fp32', 'fp16', 'bf16', *(('int8',) if kind in _INT8 else ()))
    for kind in KINDS
}
RUNNABLE = True

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
    precision: str = 'fp32',
    calibration: Iterable[np.ndarray] | None = None,
    fixed_size: bool = False,
) -> None:
    """Write a graph as OpenVINO's ``.xml``, with the weights in the ``.bin`` beside.

    Args:
        graph: The graph.
        example: An image, (1, C, H, W); its size counts if it is to be fixed.
        path: The ``.xml``.
        metadata: What `mmrapidnet.deploy.metadata.describe` gave.
        precision: 'fp32'; 'fp16': weights of half the size, computed with in fp32;
            'bf16': stored in fp32, computed with in bfloat16 where the CPU can;
            'int8': weights and activations quantised after training, what is not
            in bfloat16 where the CPU can.
        calibration: For int8 images as a session takes them, from which the ranges
            of the activations are taken.
        fixed_size: Whether to fix the size of the images. Defaults to False.

    Raises:
        UserError: If there is no such precision for this kind, OpenVINO cannot hold
            the model, or int8 comes without images.
    """
    check_supported(NAME, PRECISIONS, graph.kind, precision)
    size = tuple(example.shape[2:]) if fixed_size or not is_dynamic(graph) else None
    model = _convert(graph, size, channels=example.shape[1])
    packages = ['openvino']
    if precision == 'int8':
        model = _quantize(model, calibration)
        packages.append('nncf')
    batch = None if graph.batched else 1
    metadata = about.complete(metadata, size, batch, packages)
    model.set_rt_info(about.to_text(metadata), [about.KEY])
    openvino.save_model(model, path, compress_to_fp16=precision == 'fp16')


class Session:
    """An OpenVINO file, run on the CPU for the least latency.

    A network of known shapes runs faster than one for any: where the file or ``size``
    fixes the size of the images, the network is compiled for each number of them.

    So it is for each number and size where the file is int8: a network of 8 bits that
    was compiled for any shape reads beyond its memory and ends the process on Intel's
    processors with AMX (github.com/openvinotoolkit/openvino/issues/37577, up to
    OpenVINO 2026.4; seen in a depthwise convolution).

    Args:
        path: The ``.xml``.
        threads: Number of threads. Defaults to None: as the runtime likes.
        size: Height and width of all images. Defaults to None: any it takes.

    Raises:
        UserError: If it is not OpenVINO's, not ours, has lost its ``.bin``, or does
            not take that size.

    Attributes:
        metadata: What the file says of itself.
    """

    def __init__(
        self,
        path: Path,
        threads: int | None = None,
        size: tuple[int, int] | None = None,
    ) -> None:
        self.path = path
        core = openvino.Core()
        model = _read(core, path)
        self.metadata = about.from_text(_read_metadata(model), path)
        if size is not None:
            about.check_size(self.metadata, size, path)
        self._size = size or self.metadata['input']['size']
        self._any_shape = not self._size and self.metadata['precision'] != 'int8'
        options = {
            'PERFORMANCE_HINT': 'LATENCY',
            # By itself it computes in bfloat16 wherever the CPU can.
            'INFERENCE_PRECISION_HINT': _precision_between(self.metadata),
        }
        if threads is not None:
            options['INFERENCE_NUM_THREADS'] = threads
        compile_for = partial(_compile, core, model, options)
        # Those used last are kept: every network has its own copy of the weights.
        self._request = lru_cache(COMPILED)(compile_for)
        if self._any_shape:
            self._request(None)
        elif self._size:
            self._request((1, about.channels_of(self.metadata), *self._size))

    def __call__(self, image: np.ndarray) -> dict[str, np.ndarray]:
        """Run the file.

        Args:
            image: float32, (N, C, H, W), 0 to 255, as the pipeline reads it (BGR).

        Returns:
            The outputs by name.

        Raises:
            UserError: If the file does not take such images.
        """
        about.check_image(self.metadata, image, self.path, self._size)
        request = self._request(None if self._any_shape else image.shape)
        found = request.infer([image], share_inputs=True)
        names = self.metadata['outputs']
        return dict(zip(names, found.values(), strict=True))


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


def _convert(
    graph: Graph, size: tuple[int, int] | None, channels: int
) -> openvino.Model:
    """By way of ONNX, which OpenVINO reads best; nothing of it is left."""
    with needs_extra(NAME):
        import onnx_ir
    with tempfile.TemporaryDirectory() as folder, conversion_to(NAME):
        file = Path(folder) / 'graph.onnx'
        onnx_ir.save(onnx_model.convert(graph, size, channels), file)
        return openvino.convert_model(file)


def _quantize(
    model: openvino.Model, calibration: Iterable[np.ndarray] | None
) -> openvino.Model:
    """Quantise to int8 after training, ranges of activations need not be symmetric.

    Ranges reach to the extremes of all images. With the mean of each image's extremes,
    NNCF's default, 7 of 720 predictions of a classifier of Shapes changed; so does 1.

    Weights have 7 bits in every layer but depthwise convolutions, not in the first
    alone: processors without VNNI add two products in 16 bits, which products of 8 and
    8 bits can exceed. Of a small segmenter the difference from float was twice as large
    on them.
    """
    with needs_extra(NAME):
        import nncf
        from nncf.quantization.advanced_parameters import OverflowFix
        from nncf.quantization.range_estimator import RangeEstimatorParametersSet

    # NNCF goes through them several times; what has a length can be read anew.
    images = calibration if isinstance(calibration, Sized) else list(calibration or ())
    if not len(images):
        raise UserError(
            'int8 needs images to calibrate on: give some of the data set the model '
            'was trained on'
        )
    nncf.set_log_level(logging.ERROR)
    with contextlib.redirect_stdout(io.StringIO()):  # progress bars
        return nncf.quantize(
            model,
            nncf.Dataset(images),
            preset=nncf.QuantizationPreset.MIXED,
            subset_size=len(images),
            advanced_parameters=nncf.AdvancedQuantizationParameters(
                overflow_fix=OverflowFix.ENABLE,
                activations_range_estimator_params=RangeEstimatorParametersSet.MINMAX,
            ),
        )


def _read(core: openvino.Core, path: Path) -> openvino.Model:
    weights = path.with_suffix('.bin')
    if not weights.is_file():
        raise UserError(f'{path} lacks its weights: {weights} must lie beside it')
    try:
        return core.read_model(path)
    except RuntimeError as error:
        raise UserError(
            f'{path} is not an OpenVINO file that can be run: {first_line(error)}'
        ) from error


def _precision_between(metadata: dict[str, Any]) -> str:
    """What the activations are in that are not of 8 bits."""
    low = metadata['precision'] in ('bf16', 'int8')
    return 'bf16' if low and has_bf16() else 'f32'


def _read_metadata(model: openvino.Model) -> str | None:
    if not model.has_rt_info([about.KEY]):
        return None
    return model.get_rt_info([about.KEY]).astype(str)
