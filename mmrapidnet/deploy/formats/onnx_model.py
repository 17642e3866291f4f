"""Graphs as ONNX models, which two formats start from."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import torch

from mmrapidnet.deploy.graphs import FREE

if TYPE_CHECKING:
    import onnx_ir

    from mmrapidnet.deploy.graphs import Graph

# The first with an operator for GELU, which runtimes compute in one pass.
OPSET = 20
# What a graph for every size is traced on: no dimension of it is 1, none equals
# another, none is a multiple of a stride, so that none is taken for a constant.
_BATCH, _SIZE = 2, (170, 230)


def convert(graph: Graph, image: dict[str, Any]) -> onnx_ir.Model:
    """Turn a graph into an ONNX model.

    Args:
        graph: The graph.
        image: The ``input`` of its description: ``channels`` and ``size``, to be
            fixed, or None.

    Returns:
        The model. The number of images is free, too, but for graphs that take one.
    """
    batch = _BATCH if graph.batched else 1
    shape = (batch, image['channels'], *(image['size'] or _SIZE))
    free = {0: 'batch'} if graph.batched else {}
    if image['size'] is None:
        free |= {2: 'height', 3: 'width'}
    free_prompts = [
        {axis: name for axis, name in enumerate(shape) if name in FREE}
        for shape in graph.prompts.values()
    ]
    translations = {}
    if graph.kind == 'detector':
        from mmrapidnet.deploy.ops import onnx_translations  # of a newer torch

        translations = onnx_translations()
    with torch.no_grad(), warnings.catch_warnings():
        # torch's own, about its own; and what an error says better in the end
        warnings.filterwarnings('ignore', r'.*LeafSpec', FutureWarning)
        warnings.filterwarnings('ignore', 'Dynamo does not know', UserWarning)
        # Two inputs have as many prompts.
        warnings.filterwarnings('ignore', '# The axis name', UserWarning)
        program = torch.onnx.export(
            graph.module,
            (torch.zeros(shape), *graph.make_prompts()),
            dynamo=True,
            opset_version=OPSET,
            input_names=[graph.input, *graph.prompts],
            output_names=list(graph.outputs),
            dynamic_shapes=(free, *free_prompts),
            custom_translation_table=translations,
            verbose=False,
        )
    return program.model
