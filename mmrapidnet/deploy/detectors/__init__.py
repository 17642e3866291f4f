"""What detectors predict, as functions of plain tensors: one module per head family.

mmdet predicts through lists of instances and branches on how many there are, which no
exporter can follow.  Here every image takes the same steps, with any number of
detections, none included.
"""

from __future__ import annotations

from torch import nn

from mmrapidnet.deploy.detectors.dynamic_masks import (
    RTMDET_INS_HEADS,
    CondInstGraph,
    RTMDetInsGraph,
)
from mmrapidnet.deploy.detectors.mask2former import Mask2FormerGraph
from mmrapidnet.deploy.detectors.one_stage import OneStageGraph
from mmrapidnet.deploy.detectors.solov2 import SOLOv2Graph
from mmrapidnet.deploy.detectors.two_stage import TwoStageGraph
from mmrapidnet.utils.errors import UserError


def build_detector(model: nn.Module) -> nn.Module:
    """Make the graph of a detector behind its data preprocessor.

    Args:
        model: A detector of mmdet in evaluation mode. It is shared, not copied.

    Returns:
        A module with ``outputs``, the names of what ``forward(image, height, width)``
        returns: of one image, normalised and padded on the right and below,
        (1, C, H, W), and its height and width without the padding. Its ``settings``
        say how that becomes a prediction, in words of `mmrapidnet.deploy.metadata`.

    Raises:
        UserError: If no graph is written for this kind of detector, or for a part or
            an option of it.
    """
    if hasattr(model, 'roi_head'):
        return TwoStageGraph(model)
    if hasattr(model, 'panoptic_fusion_head'):
        return Mask2FormerGraph(model)
    if getattr(model, 'with_mask', False):
        return (CondInstGraph if model.with_bbox else SOLOv2Graph)(model)
    if type(getattr(model, 'bbox_head', None)).__name__ in RTMDET_INS_HEADS:
        return RTMDetInsGraph(model)
    if getattr(model, 'with_bbox', False):
        return OneStageGraph(model)
    heads = (name for name, _ in model.named_children() if name.endswith('_head'))
    names = ' and '.join(type(getattr(model, head)).__name__ for head in heads)
    raise UserError(
        f'the {names or "head"} of this {type(model).__name__} cannot be exported: '
        'only the backbone can be taken, to any format (part=backbone)'
    )
