"""Detectors in one stage, anchor-based and point-based, as far as the final boxes.

What mmdet's ``BaseDenseHead`` predicts, which RetinaNet, FCOS, ATSS and RTMDet share,
and GFL but for how it tells a distance.
"""

from __future__ import annotations

from operator import attrgetter
from typing import NamedTuple

import torch
from torch import Tensor, nn

from mmrapidnet.deploy.detectors.shared import (
    DetectorGraph,
    Suppression,
    check_parts,
    clip_boxes,
    decode_deltas,
)
from mmrapidnet.deploy.ops import top
from mmrapidnet.utils.errors import UserError

# What each part of the detector has to be: what it predicts is written out below.
_PARTS = {
    'bbox_head.prior_generator': ('AnchorGenerator', 'MlvlPointGenerator'),
    'bbox_head.bbox_coder': ('DeltaXYWHBBoxCoder', 'DistancePointBBoxCoder'),
}
# Options of them that would change the prediction, where they have them, with the
# values they may have.
_OPTIONS = {
    'bbox_head.bbox_coder.clip_border': (True,),
    'bbox_head.bbox_coder.add_ctr_clamp': (False,),
    'bbox_head.loss_cls.custom_cls_channels': (False,),
}
# The steps of a head's prediction, with the classes whose steps are written out below.
_STEPS = {
    'predict': ('BaseDenseHead',),
    'predict_by_feat': ('BaseDenseHead',),
    '_predict_by_feat_single': ('BaseDenseHead', 'GFLHead'),
    '_bbox_post_process': ('BaseDenseHead',),
}


class OneStageGraph(DetectorGraph):
    """The prediction of a detector in one stage.

    Args:
        model: mmdet's ``RetinaNet``, ``FCOS``, ``ATSS``, ``GFL``, ``RTMDet`` or another
            whose head predicts as theirs do.

    Raises:
        UserError: As `DetectorGraph`; also if the head predicts in a way of its own.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__(model)
        _check_steps(model)
        self.head = model.bbox_head
        self.detect = DenseDetection(model)

    def predict(
        self, maps: tuple[Tensor, ...], height: int, width: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Boxes, scores and labels."""
        found = self.detect(self.head(maps), height, width)
        return found.boxes, found.scores, found.labels


class Detections(NamedTuple):
    """Detections by descending score, and what of a dense head predicts each.

    Attributes:
        boxes: Corners (x1, y1, x2, y2) in pixels, (K, 4).
        scores: (K,).
        labels: (K,), int64.
        priors: Anchors, (K, 4), or points, (K, 2), in pixels.
        strides: Those of the levels in pixels, (K,).
        rows: The numbers of the priors among those of all levels, (K,), int64.
    """

    boxes: Tensor
    scores: Tensor
    labels: Tensor
    priors: Tensor
    strides: Tensor
    rows: Tensor


class DenseDetection(nn.Module):
    """From the maps of a dense head to detections.

    Of each level the ``nms_pre`` best scores, of all levels those that NMS leaves.

    Args:
        model: A detector with a ``bbox_head``. It is shared, not copied.

    Raises:
        UserError: If a part, an option or a kind of NMS of it is another than is
            written out here.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        head = model.bbox_head
        _check_parts(model)
        cfg = head.test_cfg
        self.nms_pre = cfg.get('nms_pre', -1)
        if self.nms_pre <= 0:
            raise UserError(
                f'test_cfg.nms_pre is {self.nms_pre}: an exported detector needs a '
                'number of candidates per level above 0'
            )
        self.generator, self.coder = head.prior_generator, head.bbox_coder
        self.channels, self.sigmoid = head.cls_out_channels, head.use_sigmoid_cls
        self.integral = getattr(head, 'integral', None)
        self.score_thr = cfg.get('score_thr', 0)
        self.min_size = cfg.get('min_bbox_size', -1)
        candidates = self.nms_pre * self.generator.num_levels
        self.suppress = Suppression.from_config(cfg, 'test_cfg', candidates)

    def forward(
        self, maps: tuple[tuple[Tensor, ...], ...], height: int, width: int
    ) -> Detections:
        """Detect the objects in an image.

        Args:
            maps: Logits of the classes, deltas or distances and, if the head has them,
                logits that the scores are multiplied with (centerness): of each level
                (1, C, H_i, W_i).
            height: Height of the image without padding.
            width: Width of the image without padding.

        Returns:
            The detections.
        """
        levels, first = [], 0
        for level, (logits, deltas, *factors) in enumerate(zip(*maps)):
            scores = self._score(logits)
            score, label, row, *rest = self._best(level, scores, deltas, *factors)
            levels.append((score, label, row + first, *rest))
            first += scores.shape[0]
        score, label, row, prior, delta, stride = map(torch.cat, zip(*levels))
        box = self._decode(prior, delta, height, width)
        found = Detections(box, score, label, prior, stride, row)
        if self.min_size >= 0:
            large = (box[:, 2:] - box[:, :2] > self.min_size).all(dim=1)
            found = _take(found, large.nonzero()[:, 0])
        return _take(found, self.suppress(found.boxes, found.scores, found.labels))

    def _score(self, logits: Tensor) -> Tensor:
        """Scores, (priors, classes), of a level."""
        logits = flatten(logits, self.channels)
        return logits.sigmoid() if self.sigmoid else logits.softmax(dim=1)[:, :-1]

    def _best(
        self, level: int, scores: Tensor, deltas: Tensor, factors: Tensor | None = None
    ) -> tuple[Tensor, ...]:
        """Take the ``nms_pre`` best scores of a level, if they are above the threshold.

        Returns:
            Of each: score, label, number of the prior, prior, delta, stride.
        """
        row, label = (scores > self.score_thr).nonzero().unbind(dim=1)
        best = top(scores[row, label], self.nms_pre)
        row, label = row[best], label[best]
        score = scores[row, label]
        if factors is not None:
            score = score * flatten(factors, 1).sigmoid()[row, 0]
        stride = self.generator.strides[level][0]
        if self.integral is None:
            delta = flatten(deltas, 4)
        else:  # the mean of a distribution for each side, in cells
            delta = self.integral(deltas[0].permute(1, 2, 0)) * stride
        # As tensors: an edge that is free is no number to divide by in ONNX.
        size = [torch.full_like(row, edge) for edge in deltas.shape[2:]]
        prior = self.generator.sparse_priors(
            row, size, level, score.dtype, score.device
        )
        return score, label, row, prior, delta[row], torch.full_like(score, stride)

    def _decode(
        self, priors: Tensor, deltas: Tensor, height: int, width: int
    ) -> Tensor:
        """Boxes, (N, 4), from deltas of anchors or from distances to the sides."""
        if type(self.coder).__name__ == 'DeltaXYWHBBoxCoder':
            return decode_deltas(self.coder, priors, deltas, height, width)
        if priors.shape[1] == 4:
            priors = (priors[:, 2:] + priors[:, :2]) / 2
        corners = [priors - deltas[:, :2], priors + deltas[:, 2:]]
        return clip_boxes(torch.cat(corners, dim=1), height, width)


def flatten(values: Tensor, channels: int) -> Tensor:
    """Lay the map of a level out prior by prior.

    Args:
        values: (1, A * channels, H, W), with A priors to a cell.
        channels: How many belong to a prior.

    Returns:
        (H * W * A, channels).
    """
    return values[0].permute(1, 2, 0).reshape(-1, channels)


def _take(found: Detections, index: Tensor) -> Detections:
    return Detections(*(values[index] for values in found))


def _check_steps(model: nn.Module) -> None:
    """Refuse a head that predicts in a way of its own."""
    head = type(model.bbox_head)
    for step, expected in _STEPS.items():
        method = getattr(head, step, None)
        owner = getattr(method, '__qualname__', 'no class').partition('.')[0]
        if owner not in expected:
            raise UserError(
                f'bbox_head is {head.__name__}, which predicts in a way of its own: a '
                'whole detector in one stage can be exported if its head predicts as '
                'RetinaNet, FCOS, ATSS, GFL, RTMDet, RTMDet-Ins or CondInst do, to '
                'onnx and openvino; else export its backbone (part=backbone), to any '
                'format'
            )


def _check_parts(model: nn.Module) -> None:
    """Refuse a model with a part or an option that is not written out here."""
    check_parts(model, _PARTS, {})
    for path, expected in _OPTIONS.items():
        owner, _, option = path.rpartition('.')
        if hasattr(attrgetter(owner)(model), option):
            check_parts(model, {}, {path: expected})
