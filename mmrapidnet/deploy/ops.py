"""The operators of detection that are neither PyTorch's nor decomposed into them.

In PyTorch they run mmcv's own kernels, so that a graph gives mmcv's results; to
``torch.export`` they are opaque; in ONNX they are standard operators.

Example:
    >>> top(torch.tensor([1.0, 3.0, 2.0, 3.0]), 3)
    tensor([1, 3, 2])
    >>> boxes = torch.tensor([[0.0, 0, 4, 4], [0, 0, 4, 3], [5, 5, 9, 9]])
    >>> nms(boxes, torch.tensor([0.5, 0.6, 0.7]), limit=100, iou_threshold=0.5)
    tensor([2, 1])
    >>> roi_align(torch.eye(4)[None, None], boxes[:1], 2, 2, 1.0, 0, True)
    tensor([[[[0.5000, 0.0000],
              [0.0000, 0.5000]]]])
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor


@torch.library.custom_op('mmrapidnet::top', mutates_args=())
def top(scores: Tensor, limit: int) -> Tensor:
    """Rank scores, equal ones by their place.

    Args:
        scores: Shape (N,).
        limit: Most indices to return.

    Returns:
        Indices of the highest scores in descending order, shape (min(N, limit),).
    """
    return scores.sort(descending=True, stable=True).indices[:limit]


@torch.library.custom_op('mmrapidnet::nms', mutates_args=())
def nms(boxes: Tensor, scores: Tensor, limit: int, iou_threshold: float) -> Tensor:
    """Suppress boxes that overlap a better one too much: mmcv's NMS, without offset.

    Args:
        boxes: Corners (x1, y1, x2, y2), shape (N, 4).
        scores: Shape (N,).
        limit: Most boxes to keep.
        iou_threshold: A box goes where its IoU with a kept one is above it.

    Returns:
        Indices of the boxes kept, by descending score, equal ones by their place,
        shape (K,).
    """
    from mmcv.ops import nms as mmcv_nms

    # mmcv sorts by score, but not stably: it is given ranks, no two alike.
    ranked = scores.sort(descending=True, stable=True).indices
    ranks = torch.arange(len(scores), 0, -1).to(scores)
    _, kept = mmcv_nms(boxes[ranked], ranks, iou_threshold, max_num=limit)
    return ranked[kept]


@torch.library.custom_op('mmrapidnet::roi_align', mutates_args=())
def roi_align(
    features: Tensor,
    boxes: Tensor,
    height: int,
    width: int,
    spatial_scale: float,
    sampling_ratio: int,
    aligned: bool,
) -> Tensor:
    """Average bilinear samples of a feature map in each bin of each box.

    Args:
        features: Of one image, shape (1, C, H, W).
        boxes: Corners (x1, y1, x2, y2) in pixels of the image, shape (N, 4).
        height: Bins down.
        width: Bins across.
        spatial_scale: From pixels of the image to cells of the features.
        sampling_ratio: Samples a bin along each axis; 0: one a cell.
        aligned: Whether a cell holds the value at its centre, not at its corner.

    Returns:
        Shape (N, C, height, width).
    """
    from mmcv.ops import roi_align as mmcv_roi_align

    rois = torch.cat([boxes.new_zeros(len(boxes), 1), boxes], dim=1)
    return mmcv_roi_align(
        features, rois, (height, width), spatial_scale, sampling_ratio, 'avg', aligned
    )


@top.register_fake
def _(scores, limit):
    count = torch.library.get_ctx().new_dynamic_size(max=limit)
    return scores.new_empty(count, dtype=torch.long)


@nms.register_fake
def _(boxes, scores, limit, iou_threshold):
    count = torch.library.get_ctx().new_dynamic_size(max=limit)
    return scores.new_empty(count, dtype=torch.long)


@roi_align.register_fake
def _(features, boxes, height, width, spatial_scale, sampling_ratio, aligned):
    return features.new_empty(boxes.shape[0], features.shape[1], height, width)


def onnx_translations() -> dict[Callable, Callable]:
    """How ``torch.onnx.export`` writes these operators, in standard ones of opset 20.

    Returns:
        The exporter's ``custom_translation_table``.
    """
    from onnx import TensorProto
    from onnxscript import opset20 as op

    def rank(scores, count):
        values, indices = op.TopK(scores, count, axis=0)
        # ONNX puts equal values in order of their index, but not every runtime does:
        # number the distinct values and sort by number and index, within an int32.
        before = op.Concat(
            op.Slice(values, [0], [1]), op.Slice(values, [0], [-1]), axis=0
        )
        new = op.Cast(op.Not(op.Equal(values, before)), to=TensorProto.INT64)
        number = op.CumSum(new, 0)
        span = op.Min(op.Shape(scores), op.Div(2**31 - 1, op.Max(count, 1)))
        place = op.Min(indices, op.Sub(span, 1))
        key = op.Add(op.Mul(number, span), place)
        _, order = op.TopK(key, count, axis=0, largest=0)
        return op.Gather(indices, order)

    # The exporter takes a parameter with a type hint for an attribute, one without
    # for a tensor.
    def write_top(scores, limit: int):
        return rank(scores, op.Min(op.Shape(scores), limit))

    def write_nms(boxes, scores, limit: int, iou_threshold: float):
        count = op.Shape(scores)
        ranked = rank(scores, count)
        # With ranks for scores no runtime has equal ones to choose from.
        ranks = op.Cast(op.Range(op.Squeeze(count), 0, -1), to=TensorProto.FLOAT)
        selected = op.NonMaxSuppression(
            op.Unsqueeze(op.Gather(boxes, ranked), [0]),
            op.Unsqueeze(ranks, [0, 1]),
            limit,
            # ONNX suppresses above the threshold, OpenVINO at it, too: with the next
            # float for threshold both do above the one given.
            float(np.nextafter(np.float32(iou_threshold), np.float32(np.inf))),
        )
        # Columns: image, class, box; in which order of rows, ONNX leaves open.
        kept = op.Gather(selected, 2, axis=1)
        kept, _ = op.TopK(kept, op.Shape(kept), axis=0, largest=0)
        return op.Gather(ranked, kept)

    def write_roi_align(
        features,
        boxes,
        height: int,
        width: int,
        spatial_scale: float,
        sampling_ratio: int,
        aligned: bool,
    ):
        # The operator itself takes half a cell off the scaled corners.
        mode = 'half_pixel' if aligned else 'output_half_pixel'
        return op.RoiAlign(
            features,
            boxes,
            op.Expand([0], op.Shape(boxes, end=1)),
            coordinate_transformation_mode=mode,
            output_height=height,
            output_width=width,
            sampling_ratio=sampling_ratio,
            spatial_scale=spatial_scale,
        )

    operators = torch.ops.mmrapidnet
    return {
        operators.top.default: write_top,
        operators.nms.default: write_nms,
        operators.roi_align.default: write_roi_align,
    }
