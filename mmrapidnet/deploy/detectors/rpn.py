"""The proposals of a region proposal network, on plain tensors."""

from __future__ import annotations

from math import inf

import torch
from torch import Tensor, nn

from mmrapidnet.deploy.detectors.shared import Suppression, decode_deltas
from mmrapidnet.deploy.ops import top
from mmrapidnet.utils.errors import UserError


class Proposals(nn.Module):
    """The RPN: from feature maps to at most ``max_per_img`` boxes, (N, 4).

    Args:
        head: mmdet's ``RPNHead``. It is shared, not copied.

    Raises:
        UserError: If its ``test_cfg`` sets no such number, or another kind of NMS.
    """

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
        self.suppress = Suppression.from_config(
            cfg,
            'test_cfg.rpn',
            candidates=self.nms_pre * len(anchors) if self.nms_pre > 0 else inf,
        )

    def forward(self, features: tuple[Tensor, ...], height: int, width: int) -> Tensor:
        """Propose boxes for an image.

        Args:
            features: The maps of the neck, (1, C, H_i, W_i).
            height: Height of the image without padding.
            width: Width of the image without padding.

        Returns:
            Corners (x1, y1, x2, y2) in pixels by descending score, (N, 4).
        """
        outputs = zip(*self.head(features))
        levels = [self._best(*output, level) for level, output in enumerate(outputs)]
        scores, deltas, *place, level = (torch.cat(part) for part in zip(*levels))
        priors = self._priors(*place, level)
        boxes = decode_deltas(self.head.bbox_coder, priors, deltas, height, width)
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
