"""What detectors of several kinds share: NMS, boxes from deltas, the check of parts."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from math import log
from operator import attrgetter
from typing import Any

import torch
from mmengine.config import ConfigDict
from torch import Tensor, nn

from mmrapidnet.deploy.ops import nms
from mmrapidnet.utils.errors import UserError

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


class DetectorGraph(nn.Module):
    """The prediction of a detector as one function of tensors.

    Gives what mmdet's ``predict`` has before it pastes or enlarges masks and returns to
    the original image's size, under the ``test_cfg`` of the model's heads.  Among equal
    scores the first in the order of levels, priors and classes comes first; which one
    does in mmdet is up to PyTorch's sorting.

    Args:
        model: A detector of mmdet in evaluation mode. It is shared, not copied.

    Raises:
        UserError: If a part, an option or a kind of NMS of the model is another than
            is written out in its class.

    Attributes:
        outputs: Names of what it gives.
        settings: What a prediction needs beside them, in words of
            `mmrapidnet.deploy.metadata`.
    """

    outputs: tuple[str, ...] = ('boxes', 'scores', 'labels')

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.backbone = model.backbone
        self.neck = model.neck if model.with_neck else nn.Identity()
        self.settings: dict[str, Any] = {}

    def forward(self, image: Tensor, height: int, width: int) -> tuple[Tensor, ...]:
        """Detect the objects in an image.

        Args:
            image: One image, normalised and padded on the right and below,
                (1, 3, H, W).
            height: Height of the image without the padding.
            width: Width of the image without the padding.

        Returns:
            By descending score, as far as ``outputs`` names them: boxes, (K, 4),
            corners (x1, y1, x2, y2) in pixels; scores, (K,); labels, (K,), int64;
            ``masks``, of each the probabilities in its box, (K, 28, 28), or
            ``mask_logits``, those of the padded image, (K, H / stride, W / stride).
            K may be 0. ``semantic``: logits of stuff, and of objects together,
            (1, stuff + 1, H / 4, W / 4).
        """
        return self.predict(self.neck(self.backbone(image)), height, width)

    @abstractmethod
    def predict(
        self, maps: tuple[Tensor, ...], height: int, width: int
    ) -> tuple[Tensor, ...]:
        """Predict from the maps of the neck, (1, C, H_i, W_i), what `forward` gives."""


@dataclass(frozen=True)
class Suppression:
    """mmcv's ``batched_nms`` as a ``test_cfg`` sets it: NMS within groups of boxes.

    Attributes:
        limit: Most boxes to keep.
        iou_threshold: A box goes where its IoU with a kept one is above it.
        class_agnostic: Whether all boxes are of one group.
    """

    limit: int
    iou_threshold: float
    class_agnostic: bool

    @classmethod
    def from_config(cls, cfg: ConfigDict, name: str, candidates: float) -> Suppression:
        """Read the settings of a head.

        Args:
            cfg: Its ``test_cfg``, with ``nms`` and ``max_per_img``.
            name: What the config calls it, for messages.
            candidates: Most boxes that it can be given.

        Returns:
            The suppression.

        Raises:
            UserError: If it is another kind of NMS.
        """
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
        """Suppress boxes.

        Args:
            boxes: Corners (x1, y1, x2, y2), none negative, shape (N, 4).
            scores: Shape (N,).
            groups: Such as labels, int64, shape (N,): no box suppresses another
                group's.

        Returns:
            Indices of the boxes kept, by descending score, shape (K,).
        """
        if not self.class_agnostic:
            # No coordinate is negative: the zero is for when there is no box.
            furthest = torch.cat([boxes.flatten(), boxes.new_zeros(1)]).max()
            boxes = boxes + (groups.to(boxes) * (furthest + 1))[:, None]
        return nms(boxes, scores, self.limit, self.iou_threshold)


def decode_deltas(
    coder: Any, boxes: Tensor, deltas: Tensor, height: int, width: int
) -> Tensor:
    """Apply what a head predicts to boxes, and clip them to the image.

    Args:
        coder: mmdet's ``DeltaXYWHBBoxCoder``.
        boxes: Anchors or proposals, corners (x1, y1, x2, y2), shape (N, 4).
        deltas: What the head predicts for them, shape (N, 4).
        height: Height of the image.
        width: Width of the image.

    Returns:
        Corners, shape (N, 4).
    """
    deltas = deltas * deltas.new_tensor(coder.stds) + deltas.new_tensor(coder.means)
    sizes = boxes[:, 2:] - boxes[:, :2]
    centres = (boxes[:, :2] + boxes[:, 2:]) * 0.5 + sizes * deltas[:, :2]
    ratios = deltas[:, 2:].clamp(-_MAX_LOG_RATIO, _MAX_LOG_RATIO).exp()
    halves = sizes * ratios * 0.5
    boxes = torch.cat([centres - halves, centres + halves], dim=1)
    return clip_boxes(boxes, height, width)


def clip_boxes(boxes: Tensor, height: int, width: int) -> Tensor:
    """Clip boxes to the image.

    Args:
        boxes: Corners (x1, y1, x2, y2), shape (N, 4).
        height: Height of the image.
        width: Width of the image.

    Returns:
        Corners, shape (N, 4).
    """
    x1, y1, x2, y2 = boxes.unbind(dim=1)
    return torch.stack(
        [
            x1.clamp(0, width),
            y1.clamp(0, height),
            x2.clamp(0, width),
            y2.clamp(0, height),
        ],
        dim=1,
    )


def check_parts(
    model: nn.Module,
    parts: Mapping[str, tuple[str, ...]],
    options: Mapping[str, tuple[Any, ...]],
) -> None:
    """Refuse a model with a part or an option that no graph is written for.

    Args:
        model: The model.
        parts: Dotted names of its parts: the names of the types that each may have.
        options: Dotted names of attributes: the values that each may have.

    Raises:
        UserError: If a part is missing or of another type, or an option has another
            value.
    """
    for path, expected in parts.items():
        try:
            given = type(attrgetter(path)(model)).__name__
        except AttributeError:
            given = 'missing'
        _check(model, path, given, expected)
    for path, expected in options.items():
        _check(model, path, attrgetter(path)(model), expected)


def _check(model: nn.Module, path: str, given: Any, expected: tuple) -> None:
    if given in expected:
        return
    part = 'dense' if getattr(model, 'with_rpn', False) else 'backbone'
    raise UserError(
        f'{path} of this {type(model).__name__} is {given}: a whole detector can be '
        f'exported with {" or ".join(map(str, expected))} only, to onnx and openvino; '
        f'else export its {part} part (part={part}), to any format'
    )
