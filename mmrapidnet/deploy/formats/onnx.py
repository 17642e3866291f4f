"""ONNX: standard operators only, in one file; run by ONNX Runtime."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime
from torch import Tensor

from mmrapidnet.deploy import metadata as about
from mmrapidnet.deploy.formats import (
    KINDS,
    SUFFIXES,
    conversion_to,
    first_line,
    onnx_model,
    session,
)
from mmrapidnet.utils.errors import in_one_line

if TYPE_CHECKING:
    from mmrapidnet.deploy.graphs import Graph

NAME = 'onnx'
SUFFIX = SUFFIXES[NAME]
PRECISIONS = dict.fromkeys(KINDS, ('fp32',))
RUNNABLE = True


def is_dynamic(graph: Graph) -> bool:
    """Whether a file can hold a graph for every height and width."""
    return graph.dynamic


def write(
    graph: Graph,
    example: Tensor,
    path: Path,
    metadata: dict[str, Any],
    calibration: Iterable[np.ndarray] | None = None,
) -> None:
    """Write a graph as ONNX, opset 20, with weights and metadata inside the file."""
    with conversion_to(NAME):
        import onnx_ir

        model = onnx_model.convert(graph, metadata['input'])
    model.metadata_props[about.KEY] = about.to_text(metadata, 'onnx', 'onnxscript')
    onnx_ir.save(model, path)


class Session(session.Session):
    """An ONNX file, run by ONNX Runtime."""

    def _open(self) -> str | None:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # errors
        if self.threads is not None:
            options.intra_op_num_threads = self.threads
        if self.size is not None:
            for name, length in zip(('height', 'width'), self.size, strict=True):
                options.add_free_dimension_override_by_name(name, length)
        what = f'{self.path} is not an ONNX file that can be run'
        with in_one_line(what, first_line):
            self._session = onnxruntime.InferenceSession(
                self.path, options, providers=['CPUExecutionProvider']
            )
        return self._session.get_modelmeta().custom_metadata_map.get(about.KEY)

    def _run(self, *inputs: np.ndarray) -> list[np.ndarray]:
        names = (taken.name for taken in self._session.get_inputs())
        given = dict(zip(names, inputs, strict=True))
        return self._session.run(self.metadata['outputs'], given)
