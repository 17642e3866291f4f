"""Mask R-CNN's prediction on plain tensors, as far as 28x28 masks.

mmdet predicts through lists of instances and branches on how many there are, which no
exporter can follow.  Here every image takes the same steps, with any number of
proposals and detections, none included.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, log
from operator import attrgetter
from typing import Any

import torch
from mmengine.config import ConfigDict
from torch import Tensor, nn

from mmrapidnet.deploy.ops import nms, roi_align, top
from mmrapidnet.utils.errors import UserError

# What each part of the detector has to be: what it predicts is written out below.
_PARTS = {
    'rpn_head': ('RPNHead',),
    'rpn_head.prior_generator': ('AnchorGenerator',),
    'rpn_head.bbox_coder': ('DeltaXYWHBBoxCoder',),
    'roi_head': ('StandardRoIHead',),
    'roi_head.bbox_roi_extractor': ('SingleRoIExtractor',),
    'roi_head.bbox_roi_extractor.roi_layers.0': ('RoIAlign',),
    'roi_head.bbox_head': (
        'BBoxHead',
        'ConvFCBBoxHead',
        'Shared2FCBBoxHead',
        'Shared4Conv1FCBBoxHead',
    ),
    'roi_head.bbox_head.bbox_coder': ('DeltaXYWHBBoxCoder',),
    'roi_head.mask_roi_extractor': ('SingleRoIExtractor',),
    'roi_head.mask_roi_extractor.roi_layers.0': ('RoIAlign',),
    'roi_head.mask_head': ('FCNMaskHead',),
}
# Options of them that would change the prediction, with the values they may have.
_OPTIONS = {
    'rpn_head.bbox_coder.clip_border': (True,),
    'rpn_head.bbox_coder.add_ctr_clamp': (False,),
    'roi_head.with_shared_head': (False,),
    'roi_head.bbox_roi_extractor.roi_layers.0.pool_mode': ('avg',),
    'roi_head.bbox_head.with_cls': (True,),
    'roi_head.bbox_head.with_reg': (True,),
    'roi_head.bbox_head.custom_cls_channels': (False,),
    'roi_head.bbox_head.bbox_coder.clip_border': (True,),
    'roi_head.bbox_head.bbox_coder.add_ctr_clamp': (False,),
    'roi_head.mask_roi_extractor.roi_layers.0.pool_mode': ('avg',),
    'roi_head.mask_head.upsample_method': ('deconv', 'nearest', 'bilinear', None),
}
# mmcv's options of NMS but for iou_threshold, which has no default.
_NMS_DEFAULTS = dict(
    type='nms',
    class_agnostic=False,
    max_num=-1,
    offset=0,
    score_threshold=0.0,
    split_thr=10000,
)
# The bound on a box's change of size that mmdet's heads leave at its default.
_MAX_LOG_RATIO = abs(log(16 / 1000))


class MaskRCNNGraph(nn.Module):
    """Mask R-CNN's prediction as one function of tensors.

    Gives what mmdet's ``MaskRCNN.predict`` has before it pastes the masks and returns
    to the original image's size, under the ``test_cfg`` of the model's heads.  Among
    equal scores the first in the order of the anchors, or of proposals and classes,
    comes first; which one does in mmdet is up to PyTorch's sorting.

    Args:
        model: mmdet's ``MaskRCNN`` in evaluation mode. It is shared, not copied.

    Raises:
        UserError: If a part, an option or a kind of NMS of the model is another than
            is written out here.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        _check_parts(model)
        self.backbone = model.backbone
        self.neck = model.neck if model.with_neck else nn.Identity()
        self.proposals = _Proposals(model.rpn_head)
        self.boxes = _Boxes(model.roi_head, self.proposals.suppress.limit)
        self.masks = _Masks(model.roi_head)

    def forward(
        self, image: Tensor, height: int, width: int
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Detect the objects in an image.

        Args:
            image: One image, normalised and padded on the right and below,
                (1, 3, H, W).
            height: Height of the image without the padding.
            width: Width of the image without the padding.

        Returns:
            By descending score: boxes, (K, 4), corners (x1, y1, x2, y2) in pixels;
            scores, (K,); labels, (K,), int64; for each the mask's probabilities in
            its box, (K, 28, 28). K may be 0.
        """
        features = self.neck(self.backbone(image))
        proposals = self.proposals(features, height, width)
        boxes, scores, labels = self.boxes(features, proposals, height, width)
        return boxes, scores, labels, self.masks(features, boxes, labels)


class _Proposals(nn.Module):
    """The RPN: from feature maps to at most ``max_per_img`` boxes, (N, 4)."""

    def __init__(self, head: nn.Module) -> None:
        super().__init__()
        cfg = head.test_cfg
        if cfg.max_per_img <= 0:
            raise UserError(
                f'test_cfg.rpn.max_per_img is {cfg.max_per_img}: an exported detector '
                'needs a number of proposals above 0'
            )
        anchors = torch.stack(head.prior_generator.base_anchors)
        strides = torch.tensor(head.prior_generator.strides)
        self.register_buffer('anchors', anchors, persistent=False)
        self.register_buffer('strides', strides, persistent=False)
        self.head = head
        self.nms_pre = cfg.get('nms_pre', -1)
        self.min_size = cfg.get('min_bbox_size', -1)
        self.suppress = _Suppression.from_config(
            cfg,
            'test_cfg.rpn',
            candidates=self.nms_pre * len(anchors) if self.nms_pre > 0 else inf,
        )

    def forward(self, features: tuple[Tensor, ...], height: int, width: int) -> Tensor:
        outputs = zip(*self.head(features))
        levels = [self._best(*output, level) for level, output in enumerate(outputs)]
        scores, deltas, *place, level = (torch.cat(part) for part in zip(*levels))
        priors = self._priors(*place, level)
        boxes = _decode(self.head.bbox_coder, priors, deltas, height, width)
        if self.min_size >= 0:
            large = (boxes[:, 2:] - boxes[:, :2] > self.min_size).all(dim=1)
            large = large.nonzero()[:, 0]
            boxes, scores, level = boxes[large], scores[large], level[large]
        return boxes[self.suppress(boxes, scores, level)]

    def _best(self, logits: Tensor, deltas: Tensor, level: int) -> tuple[Tensor, ...]:
        """Take the ``nms_pre`` best anchors of a level.

        Returns:
            Of each: score, delta, index in the level, width of the level, level.
        """
        width = logits.shape[-1]
        logits = logits[0].permute(1, 2, 0).reshape(-1, self.head.cls_out_channels)
        deltas = deltas[0].permute(1, 2, 0).reshape(-1, 4)
        if self.head.use_sigmoid_cls:
            scores = logits.sigmoid()[:, 0]
        else:
            scores = logits.softmax(dim=1)[:, 0]
        if self.nms_pre > 0:
            index = top(scores, self.nms_pre)
        else:
            index = torch.arange(scores.shape[0], device=scores.device)
        return (
            scores[index],
            deltas[index],
            index,
            torch.full_like(index, width),
            torch.full_like(index, level),
        )

    def _priors(self, index: Tensor, width: Tensor, level: Tensor) -> Tensor:
        """Make the anchors, (N, 4), of some places of the levels only."""
        per_cell = self.anchors.shape[1]
        cell, anchor = index // per_cell, index % per_cell
        shift = torch.stack([cell % width, cell // width], dim=1) * self.strides[level]
        return self.anchors[level, anchor] + shift.repeat(1, 2)


class _Boxes(nn.Module):
    """The box head: from proposals to boxes, scores and labels."""

    def __init__(self, head: nn.Module, proposals: int) -> None:
        super().__init__()
        cfg = head.test_cfg
        self.align = _RoIFeatures(head.bbox_roi_extractor)
        self.head = head.bbox_head
        self.score_thr = cfg.score_thr
        self.suppress = _Suppression.from_config(
            cfg,
            'test_cfg.rcnn',
            candidates=proposals * head.bbox_head.num_classes,
        )

    def forward(
        self, features: tuple[Tensor, ...], proposals: Tensor, height: int, width: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        aligned, place = self.align(features, proposals)
        logits, deltas = (output[place] for output in self.head(aligned))
        scores = logits.softmax(dim=1)[:, :-1]
        proposal, label = (scores > self.score_thr).nonzero().unbind(dim=1)
        score = scores[proposal, label]
        if self.head.reg_class_agnostic:
            delta = deltas[proposal]
        else:
            delta = deltas.unflatten(1, (-1, 4))[proposal, label]
        boxes = _decode(self.head.bbox_coder, proposals[proposal], delta, height, width)
        kept = self.suppress(boxes, score, label)
        return boxes[kept], score[kept], label[kept]


class _Masks(nn.Module):
    """The mask head: the predicted class's probabilities in each box."""

    def __init__(self, head: nn.Module) -> None:
        super().__init__()
        self.align = _RoIFeatures(head.mask_roi_extractor)
        self.head = head.mask_head

    def forward(
        self, features: tuple[Tensor, ...], boxes: Tensor, labels: Tensor
    ) -> Tensor:
        aligned, place = self.align(features, boxes)
        logits = self.head(aligned)
        channel = torch.zeros_like(labels) if self.head.class_agnostic else labels
        return logits[place, channel].sigmoid()


class _RoIFeatures(nn.Module):
    """The features of boxes, each from the level of the pyramid that fits its size.

    They are returned level by level, with the place of each box among them: what the
    heads make of them is smaller, so it is cheaper to put that in order.
    """

    def __init__(self, extractor: nn.Module) -> None:
        super().__init__()
        self.extractor = extractor

    def forward(
        self, features: tuple[Tensor, ...], boxes: Tensor
    ) -> tuple[Tensor, Tensor]:
        layers = self.extractor.roi_layers
        rois = torch.cat([torch.zeros_like(boxes[:, :1]), boxes], dim=1)
        level = self.extractor.map_roi_levels(rois, len(layers))
        members = [(level == i).nonzero()[:, 0] for i in range(len(layers))]
        if layers[0].aligned and layers[0].sampling_ratio == 0:
            # An empty box has no samples: mmcv makes that 0, OpenVINO nan. A box far
            # outside has samples, all of them 0.
            empty = (boxes[:, 2:] - boxes[:, :2]).amin(dim=1, keepdim=True) <= 0
            outside = boxes.new_tensor([-999.0, -999.0, -998.0, -998.0])
            boxes = torch.where(empty, outside, boxes)
        aligned = [
            roi_align(
                feature,
                boxes[member],
                *layer.output_size,
                layer.spatial_scale,
                layer.sampling_ratio,
                layer.aligned,
            )
            for feature, member, layer in zip(features, members, layers)
        ]
        return torch.cat(aligned), torch.cat(members).argsort()


@dataclass(frozen=True)
class _Suppression:
    """mmcv's ``batched_nms`` as a ``test_cfg`` sets it: NMS within groups of boxes."""

    limit: int
    iou_threshold: float
    class_agnostic: bool

    @classmethod
    def from_config(cls, cfg: ConfigDict, name: str, candidates: float) -> _Suppression:
        """Read ``cfg`` called ``name``, for at most so many ``candidates``."""
        given = dict(cfg.nms or dict(type=None))
        options = {**_NMS_DEFAULTS, **given}
        if (
            set(options) != {'iou_threshold', *_NMS_DEFAULTS}
            or options['type'] != 'nms'
            or options['offset'] != 0
            or options['score_threshold'] > 0
        ):
            raise UserError(
                f"{name}.nms is {given}: only type='nms' with an iou_threshold and, if "
                'need be, class_agnostic, max_num and split_thr can be exported'
            )
        limits = [n for n in (options['max_num'], cfg.max_per_img) if n > 0]
        suppression = cls(
            limit=min([*limits, candidates]),
            iou_threshold=float(options['iou_threshold']),
            class_agnostic=options['class_agnostic'],
        )
        # From split_thr boxes on mmcv takes group by group, which is another result
        # only if the groups are not kept apart.
        if suppression.class_agnostic and candidates >= options['split_thr']:
            raise UserError(
                f'{name}.nms.class_agnostic holds for less than split_thr='
                f'{options["split_thr"]} boxes and there may be {candidates}: set '
                'split_thr above that in the config'
            )
        return suppression

    def __call__(self, boxes: Tensor, scores: Tensor, groups: Tensor) -> Tensor:
        """Indices of the boxes kept, by descending score."""
        if not self.class_agnostic:
            # No coordinate is negative: the zero is for when there is no box.
            furthest = torch.cat([boxes.flatten(), boxes.new_zeros(1)]).max()
            boxes = boxes + (groups.to(boxes) * (furthest + 1))[:, None]
        return nms(boxes, scores, self.limit, self.iou_threshold)


def _decode(
    coder: Any, boxes: Tensor, deltas: Tensor, height: int, width: int
) -> Tensor:
    """Apply what a head predicts to boxes, (N, 4) each, and clip to the image."""
    deltas = deltas * deltas.new_tensor(coder.stds) + deltas.new_tensor(coder.means)
    sizes = boxes[:, 2:] - boxes[:, :2]
    centres = (boxes[:, :2] + boxes[:, 2:]) * 0.5 + sizes * deltas[:, :2]
    ratios = deltas[:, 2:].clamp(-_MAX_LOG_RATIO, _MAX_LOG_RATIO).exp()
    halves = sizes * ratios * 0.5
    x1, y1, x2, y2 = torch.cat([centres - halves, centres + halves], dim=1).unbind(1)
    return torch.stack(
        [
            x1.clamp(0, width),
            y1.clamp(0, height),
            x2.clamp(0, width),
            y2.clamp(0, height),
        ],
        dim=1,
    )


def _check_parts(model: nn.Module) -> None:
    """Refuse a model with a part or an option that is not written out here."""
    for path, expected in _PARTS.items():
        try:
            given = type(attrgetter(path)(model)).__name__
        except AttributeError:
            given = 'missing'
        _check(path, given, expected)
    for path, expected in _OPTIONS.items():
        _check(path, attrgetter(path)(model), expected)


def _check(path: str, given: Any, expected: tuple) -> None:
    if given not in expected:
        raise UserError(
            f'{path} is {given}: a whole detector can be exported with '
            f'{" or ".join(map(str, expected))} only; else export its dense part '
            '(part=dense)'
        )
