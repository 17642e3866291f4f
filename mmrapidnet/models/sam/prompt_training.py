"""SAM's training with prompts (arXiv 2304.02643, appendix A)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, interpolate, mse_loss

from mmrapidnet.models.sam.image_decoder import ImageDecoder
from mmrapidnet.models.sam.losses import mask_ious, mask_losses
from mmrapidnet.models.sam.prompts import (
    INSIDE,
    corrective_points,
    find_boxes,
    jitter_boxes,
    sample_points,
)
from mmrapidnet.utils.errors import UserError


@dataclass(frozen=True)
class Prompts:
    """The prompts of N objects of an image, as the decoder takes them.

    Attributes:
        points: (N, P, 2), or None.
        labels: (N, P), or None.
        boxes: (N, 4), or None.
        masks: Logits of the last round, (N, 1, h, w), or None.
    """

    points: Tensor | None = None
    labels: Tensor | None = None
    boxes: Tensor | None = None
    masks: Tensor | None = None

    @property
    def is_lone_point(self) -> bool:
        """Whether it could mean several things: SAM then gives three masks."""
        return self.boxes is None and self.masks is None and self.points.shape[1] == 1

    def add_points(self, points: Tensor, labels: Tensor) -> Prompts:
        """The prompts and one more point of each object, (N, 2), labelled (N,)."""
        points, labels = points[:, None], labels[:, None]
        if self.points is not None:
            points = torch.cat([self.points, points], dim=1)
            labels = torch.cat([self.labels, labels], dim=1)
        return replace(self, points=points, labels=labels)

    def decode(self, decoder: ImageDecoder) -> tuple[Tensor, Tensor]:
        """The masks that the decoder gives, three of a lone point, otherwise one.

        Returns:
            Logits, (N, 3 or 1, h, w), and the IoU expected of each, (N, 3 or 1).
        """
        return decoder(
            self.points,
            self.labels,
            self.boxes,
            self.masks,
            multimask_output=self.is_lone_point,
        )


def choose_best(logits: Tensor, ious: Tensor) -> Tensor:
    """The mask of each object of which the model expects most.

    Args:
        logits: (N, M, h, w).
        ious: What is expected, (N, M).

    Returns:
        (N, 1, h, w).
    """
    best = ious.argmax(1)
    return logits[torch.arange(len(best), device=best.device), best][:, None]


@dataclass(frozen=True)
class PromptTraining:
    """The rounds of prompts by which a decoder learns objects.

    The first prompt is a random point of the object or its box; each round after it
    adds a point where the last mask was wrong and gives that mask, in logits, as a
    prompt, too.  The image is encoded once.  Of the three masks of a lone point the
    best one learns; all learn to tell their IoU.  Defaults are SAM's.

    Args:
        objects_per_image: So many objects of an image, drawn at random. Defaults to 64.
        box_prob: How often an object's first prompt is its box. Defaults to 0.5.
        box_noise: Standard deviation of a box's edges, as a share of its side. Defaults
            to 0.1.
        max_box_noise: The farthest that an edge moves, in pixels. Defaults to 20.
        corrections: Rounds with a corrective point: a number, or the smallest and the
            largest, one of which is drawn in each iteration. Defaults to 8.
        refinements: Rounds with the mask but no new point; the last of them ends, the
            others come at random among the corrections. Defaults to 2.
        innermost: The share of corrective points that are not any wrong pixel but the
            innermost of the larger wrong region, as in tests. Defaults to 0.
        focal_weight: Weight of the focal loss beside the dice loss. Defaults to 20.

    Raises:
        UserError: If a number is out of its range.
    """

    objects_per_image: int = 64
    box_prob: float = 0.5
    box_noise: float = 0.1
    max_box_noise: float = 20.0
    corrections: int | Sequence[int] = 8
    refinements: int = 2
    innermost: float = 0.0
    focal_weight: float = 20.0
    _limits: tuple[int, int] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        given = self.corrections
        limits = (given, given) if isinstance(given, int) else tuple(given)
        for name in ('box_prob', 'innermost'):
            if not 0 <= getattr(self, name) <= 1:
                self._refuse(name, 'a share, from 0 to 1')
        if self.objects_per_image < 1:
            self._refuse('objects_per_image', 'a number above 0')
        for name in ('refinements', 'focal_weight'):
            if getattr(self, name) < 0:
                self._refuse(name, 'a number from 0 on')
        if len(limits) != 2 or not 0 <= limits[0] <= limits[1]:
            self._refuse('corrections', 'a number from 0 on, or the least and the most')
        object.__setattr__(self, '_limits', limits)

    def _refuse(self, name: str, expected: str) -> None:
        raise UserError(
            f'train_cfg.{name}={getattr(self, name)!r} of SegmentAnything: it must be '
            f'{expected}'
        )

    def choose(self, count: int) -> Tensor:
        """Draw which of an image's objects to train on, as their numbers."""
        return torch.randperm(count)[: self.objects_per_image]

    def choose_boxes(self, count: int) -> Tensor:
        """Draw which objects have a box for their first prompt, (count,), bool."""
        return torch.rand(count) < self.box_prob

    def draw_boxes(self, truth: Tensor) -> Prompts:
        """Draw the boxes of objects, from their masks (N, H, W)."""
        boxes = find_boxes(truth)
        size, noise = truth.shape[1:], (self.box_noise, self.max_box_noise)
        return Prompts(boxes=jitter_boxes(boxes, size, *noise))

    def draw_points(self, truth: Tensor) -> Prompts:
        """Draw a point of each object, from their masks (N, H, W)."""
        points = sample_points(truth)
        labels = torch.full((len(points),), INSIDE, device=points.device)
        return Prompts().add_points(points, labels)

    def plan_rounds(self) -> list[bool]:
        """Draw the rounds after the first: whether each one has a new point."""
        least, most = self._limits
        corrections = int(torch.randint(least, most + 1, ()))
        order = torch.randperm(corrections + max(self.refinements - 1, 0))
        rounds = [number < corrections for number in order.tolist()]
        return rounds + [False] * min(self.refinements, 1)

    def run_rounds(
        self, prompts: Prompts, decoder: ImageDecoder, truth: Tensor
    ) -> dict[str, Tensor]:
        """Go through the rounds from the first prompts on.

        Args:
            prompts: Of N objects, boxes or points.
            decoder: Of their images.
            truth: Masks of the objects, (N, H, W), bool, in the size of the encoder's
                input, none of them empty, N above 0.

        Returns:
            'loss_mask' and 'loss_iou', means over rounds and objects; 'first_iou' and
            'last_iou', the IoU that the masks of the first and the last round have.
        """
        rounds = [self._learn(prompts, decoder, truth)]
        for has_point in self.plan_rounds():
            _, masks, logits = rounds[-1]
            if has_point:
                points = corrective_points(masks, truth, self.innermost)
                prompts = prompts.add_points(*points)
            prompts = replace(prompts, masks=logits)
            rounds.append(self._learn(prompts, decoder, truth))
        losses = torch.stack([loss for loss, _, _ in rounds]).mean(0)
        first, last = (mask_ious(rounds[i][1], truth).mean() for i in (0, -1))
        return dict(
            loss_mask=losses[0], loss_iou=losses[1], first_iou=first, last_iou=last
        )

    def _learn(
        self, prompts: Prompts, decoder: ImageDecoder, truth: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Predict, and compare with the truth.

        Returns:
            The losses of masks and IoU, (2,); the masks that the model takes for the
            best, (N, H, W), bool; their logits, (N, 1, h, w), without gradient.
        """
        logits, ious = (x.float() for x in prompts.decode(decoder))
        # Small masks, each of whose pixels knows how much of it is inside.
        targets = adaptive_avg_pool2d(truth.to(logits)[:, None], logits.shape[-2:])
        with torch.no_grad():
            masks = interpolate(logits, truth.shape[1:], mode='bilinear') > 0
            real_ious = mask_ious(masks, truth[:, None])
            best = choose_best(logits, ious)
            best_masks = choose_best(masks, ious).squeeze(1)
        loss_mask = mask_losses(logits, targets, self.focal_weight).amin(1).mean()
        return torch.stack([loss_mask, mse_loss(ious, real_ious)]), best_masks, best
