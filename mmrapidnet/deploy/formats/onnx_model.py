"""Graphs as ONNX models, which two formats start from."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    import onnx_ir

    from mmrapidnet.deploy.graphs import Graph

# The first with an operator for GELU, which runtimes compute in one pass.
OPSET = 20
# What a graph for every size is traced on: no dimension of it is 1, none equals
# another, none is a multiple of a stride, so that none is taken for a constant.
_TRACED = (2, 170, 230)


def convert(
    graph: Graph, size: tuple[int, int] | None, channels: int = 3
) -> onnx_ir.Model:
    """Turn a graph into an ONNX model.

    Args:
        graph: The graph.
        size: Height and width to fix; None for any.
        channels: Channels of the images. Defaults to 3.

    Returns:
        The model. The number of images is free, too, but for graphs that take one.
    """
    batch, *traced = _TRACED
    shape = (batch if graph.batched else 1, channels, *(size or traced))
    free = {0: 'batch'} if graph.batched else {}
    if size is None:
        free |= {2: 'height', 3: 'width'}
    with torch.no_grad(), warnings.catch_warnings():
        # torch's own, about its own; and what an error says better in the end
        warnings.filterwarnings('ignore', r'.*LeafSpec', FutureWarning)
        warnings.filterwarnings('ignore', 'Dynamo does not know', UserWarning)
        program = torch.onnx.export(
            graph.module,
            (torch.zeros(shape),),
            dynamo=True,
            opset_version=OPSET,
            input_names=['image'],
            output_names=list(graph.outputs),
            dynamic_shapes=(free,),
            custom_translation_table=_translations(graph),
            verbose=False,
        )
    return program.model


def _translations(graph: Graph) -> dict[Any, Any]:
    """The operators of a detector in ONNX."""
    if graph.kind != 'detector':
        return {}
    from mmrapidnet.deploy.ops import onnx_translations

    return onnx_translations()
