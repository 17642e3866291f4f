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
    check_supported,
    conversion_to,
    first_line,
    needs_extra,
    onnx_model,
)
from mmrapidnet.utils.errors import UserError

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
    precision: str = 'fp32',
    calibration: Iterable[np.ndarray] | None = None,
    fixed_size: bool = False,
) -> None:
    """Write a graph as ONNX, opset 20, with weights and metadata inside the file.

    Args:
        graph: The graph.
        example: An image, (1, C, H, W); its size counts if it is to be fixed.
        path: The file.
        metadata: What `mmrapidnet.deploy.metadata.describe` gave.
        precision: 'fp32'.
        calibration: Not used: there is no int8.
        fixed_size: Whether to fix the size of the images. Defaults to False.

    Raises:
        UserError: If ONNX has no such precision or cannot hold the model.
    """
    with needs_extra(NAME):
        import onnx_ir

    check_supported(NAME, PRECISIONS, graph.kind, precision)
    size = tuple(example.shape[2:]) if fixed_size or not is_dynamic(graph) else None
    with conversion_to(NAME):
        model = onnx_model.convert(graph, size, channels=example.shape[1])
    packages = ('onnx', 'onnxscript')
    batch = None if graph.batched else 1
    model.metadata_props[about.KEY] = about.to_text(
        about.complete(metadata, size, batch, packages)
    )
    onnx_ir.save(model, path)


class Session:
    """An ONNX file, run by ONNX Runtime on the CPU.

    Args:
        path: The file.
        threads: Number of threads. Defaults to None: as the runtime likes.
        size: Height and width of all images. Defaults to None: any it takes.

    Raises:
        UserError: If it is not ONNX, not ours, or does not take that size.

    Attributes:
        metadata: What the file says of itself.
    """

    def __init__(
        self,
        path: Path,
        threads: int | None = None,
        size: tuple[int, int] | None = None,
    ) -> None:
        self.path, self._size = path, size
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # errors
        if threads is not None:
            options.intra_op_num_threads = threads
        if size is not None:
            for name, length in zip(('height', 'width'), size, strict=True):
                options.add_free_dimension_override_by_name(name, length)
        try:
            self._session = onnxruntime.InferenceSession(
                path, options, providers=['CPUExecutionProvider']
            )
        except Exception as error:  # of several types, which only its C module has
            raise UserError(
                f'{path} is not an ONNX file that can be run: {first_line(error)}'
            ) from error
        properties = self._session.get_modelmeta().custom_metadata_map
        self.metadata = about.from_text(properties.get(about.KEY), path)
        if size is not None:
            about.check_size(self.metadata, size, path)

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
        outputs = self.metadata['outputs']
        values = self._session.run(outputs, {'image': image})
        return dict(zip(outputs, values, strict=True))
