"""Prompts made from the masks of objects, to train and to test with.

Points are x and y, boxes x1, y1, x2, y2 in pixels of the masks.  What is random comes
from PyTorch's global generator, which the training loop seeds for each iteration.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor

# Labels of points, as SAM has them.
OUTSIDE, INSIDE, NO_POINT = 0, 1, -1


def sample_points(regions: Tensor) -> Tensor:
    """Draw a point of each region, each of its pixels with the same probability.

    Args:
        regions: (N, H, W), bool.

    Returns:
        (N, 2); of an empty region, any point.

    Examples:
        >>> region = torch.zeros(1, 4, 6, dtype=torch.bool)
        >>> region[0, 2, 5] = True
        >>> sample_points(region)
        tensor([[5., 2.]])
    """
    counts = regions.flatten(1).cumsum(1, dtype=torch.int32)
    total = counts[:, -1:]
    # Of the n pixels the k-th, k from 1 to n.
    draws = torch.rand(total.shape, dtype=torch.float64, device=total.device)
    ranks = (draws * total).int() + 1
    places = torch.searchsorted(counts, ranks).squeeze(1)
    return _points_at(places.clamp(max=counts.shape[1] - 1), regions.shape[2])


def innermost_points(regions: Tensor) -> tuple[Tensor, Tensor]:
    """Find the point of each region that is the farthest from its edge.

    The border of the image is an edge, too.

    Args:
        regions: (N, H, W), bool.

    Returns:
        The points, (N, 2), and their distances to the nearest pixel outside, (N,); 0
        for an empty region.

    Examples:
        >>> region = torch.zeros(1, 7, 9, dtype=torch.bool)
        >>> region[0, 1:6, 2:7] = True
        >>> innermost_points(region)
        (tensor([[4., 3.]]), tensor([3.]))
    """
    places, depths = [], []
    for region in regions.cpu().numpy().astype(np.uint8):
        bordered = np.pad(region, 1)
        distances = cv2.distanceTransform(bordered, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[
            1:-1, 1:-1
        ]
        places.append(int(distances.argmax()))
        depths.append(float(distances.flat[places[-1]]))
    device = regions.device
    points = _points_at(
        torch.tensor(places, dtype=torch.long, device=device), regions.shape[2]
    )
    return points, torch.tensor(depths, device=device)


def corrective_points(
    masks: Tensor, truth: Tensor, innermost: float = 0.0
) -> tuple[Tensor, Tensor]:
    """Click where masks are wrong, as a user would.

    Args:
        masks: What was predicted, (N, H, W), bool.
        truth: What it should have been, (N, H, W), bool.
        innermost: The share of points that are the innermost of the larger region of
            what was missed and what was too much; the others are any wrong pixel.
            Defaults to 0.

    Returns:
        The points, (N, 2), and their labels, (N,): 1 where the object was missed, 0
        where the mask was too much, -1 where nothing was wrong.
    """
    wrong = masks != truth
    points = sample_points(wrong) if innermost < 1 else wrong.new_zeros(len(wrong), 2)
    points = points.float()
    central = torch.rand(len(points), device=points.device) < innermost
    if central.any():
        points[central] = _innermost_errors(masks[central], truth[central])
    x, y = points.long().unbind(1)
    missed = truth[torch.arange(len(points), device=points.device), y, x]
    labels = torch.where(missed, INSIDE, OUTSIDE)
    return points, labels.where(wrong.flatten(1).any(1), NO_POINT)


def find_boxes(masks: Tensor) -> Tensor:
    """Find the box of each mask.

    Args:
        masks: (N, H, W), bool.

    Returns:
        (N, 4), xyxy: the edges of the outermost pixels, as COCO's boxes have them; all
        0 of an empty mask.

    Examples:
        >>> mask = torch.zeros(1, 7, 9, dtype=torch.bool)
        >>> mask[0, 1:6, 2:7] = True
        >>> find_boxes(mask)
        tensor([[2., 1., 7., 6.]])
    """
    edges = []
    for inside in (masks.any(1).byte(), masks.any(2).byte()):
        first = inside.argmax(1)
        last = inside.shape[1] - inside.flip(1).argmax(1)
        edges.append((first, last))
    (left, right), (top, bottom) = edges
    boxes = torch.stack([left, top, right, bottom], dim=1).float()
    return boxes * inside.any(1, keepdim=True)


def jitter_boxes(
    boxes: Tensor, size: tuple[int, int], noise: float = 0.1, max_noise: float = 20.0
) -> Tensor:
    """Move the edges of boxes, as SAM does in training.

    Args:
        boxes: (N, 4).
        size: Height and width of the image, which they stay in.
        noise: Standard deviation as a share of the side. Defaults to 0.1.
        max_noise: An edge moves no farther, in pixels. Defaults to 20.

    Returns:
        (N, 4).
    """
    sides = (boxes[:, 2:] - boxes[:, :2]).repeat(1, 2)
    shifts = torch.randn_like(boxes) * noise * sides
    height, width = size
    limits = boxes.new_tensor([width, height, width, height])
    moved = boxes + shifts.clamp(-max_noise, max_noise)
    return moved.clamp(min=0).minimum(limits)


def _innermost_errors(masks: Tensor, truth: Tensor) -> Tensor:
    missed, missed_depths = innermost_points(truth & ~masks)
    excess, excess_depths = innermost_points(masks & ~truth)
    return torch.where((missed_depths >= excess_depths)[:, None], missed, excess)


def _points_at(places: Tensor, width: int) -> Tensor:
    """Points of the numbers of pixels, counted along the rows."""
    return torch.stack([places % width, places // width], dim=1).float()
