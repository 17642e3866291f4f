"""ExecuTorch: for phones and boards, by XNNPACK; fp32 or int8, run on the CPU."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

# All that `executorch.runtime` is around; that takes seconds to import.
from executorch.extension.pybindings import _C
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
    from executorch.exir import ExecutorchProgramManager
    from torchao.quantization.pt2e.quantizer.utils import QuantizationConfig

    from mmrapidnet.deploy.graphs import Graph

NAME = 'executorch'
SUFFIX = SUFFIXES[NAME]
PRECISIONS = {
    **dict.fromkeys(('backbone', 'classifier', 'segmenter'), ('fp32', 'int8')),
    # Its XNNPACK fails on quantised maps that are outputs and go on (1.5.1).
    'dense': ('fp32',),
}
RUNNABLE = True

# The method of a program that computes; that called as `about.KEY` gives the metadata.
_METHOD = 'forward'
# The least step between two values of 8 bits.  ExecuTorch's own, 2^-12, leaves a
# channel whose weights are small, as fused normalisation makes them, a few values.
_LEAST_STEP = 2.0**-24


def is_dynamic(graph: Graph) -> bool:
    """Whether a file can hold a graph for every height and width.

    XNNPACK enlarges maps to a size that is known beforehand only, and the memory of
    all maps is laid out for the largest image.
    """
    return False


def write(
    graph: Graph,
    example: Tensor,
    path: Path,
    metadata: dict[str, Any],
    calibration: Iterable[np.ndarray] | None = None,
) -> None:
    """Write a graph as an ExecuTorch program (``.pte``), with the metadata inside.

    Its method ``forward`` takes the image and gives the outputs in their order, and
    the method ``mmrapidnet`` the metadata.  XNNPACK computes what it can.  'int8'
    has weights and activations of convolutions, sums and products quantised after
    training.
    """
    module, packages = graph.module, ['executorch']
    if metadata['precision'] == 'int8':
        images = require_calibration(calibration)
        with conversion_to(NAME), quiet():
            module = _quantize(module, example, images)
        packages.append('torchao')
    text = about.to_text(metadata, *packages, batch=1)
    with conversion_to(NAME), quiet():
        program = _convert(module, example, text)
    path.write_bytes(program.buffer)


class Session(session.Session):
    """An ExecuTorch file, which takes one image at a time, of one size.

    All files of a process share their threads: as many as the last was opened with.
    """

    def _open(self) -> str | None:
        what = f'{self.path} is not an ExecuTorch program that can be run'
        with in_one_line(what, first_line), quiet():
            self._program = _C._load_program(
                str(self.path),
                program_verification=_C.Verification.InternalConsistency,
            )
            count = self._program.num_methods()
            if about.KEY not in map(self._program.get_method_name, range(count)):
                return None
            (text,) = self._program.load_method(about.KEY)()
        return text

    def _prepare(self) -> None:
        with in_one_line(f'{self.path} cannot be run', first_line), quiet():
            if self.threads is not None:
                _C._unsafe_reset_threadpool(self.threads)
            self._method = self._program.load_method(_METHOD)

    def _run(self, image: np.ndarray) -> Iterator[np.ndarray]:
        pixels = torch.from_numpy(np.ascontiguousarray(image))
        return (output.numpy() for output in self._method([pixels]))


def _convert(module: nn.Module, example: Tensor, text: str) -> ExecutorchProgramManager:
    """Lower a function of an image, whose description another method gives."""
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import (
        XnnpackPartitioner,
    )
    from executorch.exir import to_edge_transform_and_lower

    with torch.no_grad():
        program = to_edge_transform_and_lower(
            torch.export.export(module, (example,)),
            partitioner=[XnnpackPartitioner()],
            constant_methods={about.KEY: text},
        ).to_executorch()
    known = set(_C._get_operator_names())
    for plan in program.executorch_program.execution_plan:
        for operator in plan.operators:
            name = '.'.join(filter(None, (operator.name, operator.overload)))
            if name not in known:
                raise ValueError(f'its runtime has no operator {name}')
    return program


def _quantize(
    module: nn.Module, example: Tensor, images: Iterable[np.ndarray]
) -> nn.Module:
    """Quantise to int8 after training, as XNNPACK computes it."""
    from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import (
        XNNPACKQuantizer,
    )
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

    quantizer = XNNPACKQuantizer().set_global(_describe_int8())
    with torch.no_grad():
        observed = torch.export.export(module, (example,)).module()
        observed = prepare_pt2e(observed, quantizer)
        for image in images:
            observed(torch.from_numpy(image))
        return convert_pt2e(observed)


def _describe_int8() -> QuantizationConfig:
    """A range for each channel of weights, and ranges up to the extremes of all images.

    ExecuTorch's own observers take histograms of all maps, which is slow.
    """
    from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import (
        get_symmetric_quantization_config,
    )
    from torchao.quantization.pt2e import MinMaxObserver, PerChannelMinMaxObserver

    def observe(spec: Any, observer: Any) -> Any:
        observer = observer.with_args(eps=_LEAST_STEP)
        return replace(spec, observer_or_fake_quant_ctr=observer)

    config = get_symmetric_quantization_config(is_per_channel=True)
    activation = observe(config.input_activation, MinMaxObserver)
    return replace(
        config,
        input_activation=activation,
        output_activation=activation,
        weight=observe(config.weight, PerChannelMinMaxObserver),
    )
