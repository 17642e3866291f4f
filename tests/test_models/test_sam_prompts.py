"""Prompts made from masks, and the losses of masks: numbers counted by hand."""

import math

import pytest
import torch

from mmrapidnet.models.sam.losses import (
    dice_loss,
    focal_loss,
    mask_ious,
    mask_losses,
)
from mmrapidnet.models.sam.prompts import (
    INSIDE,
    NO_POINT,
    OUTSIDE,
    corrective_points,
    find_boxes,
    innermost_points,
    jitter_boxes,
    sample_points,
)


def block(top, left, bottom, right, size=(12, 16)):
    """A mask with a filled rectangle, (1, H, W)."""
    mask = torch.zeros(1, *size, dtype=torch.bool)
    mask[0, top:bottom, left:right] = True
    return mask


def at(masks, points):
    """Whether the points are in the masks."""
    x, y = points.long().unbind(1)
    return masks[torch.arange(len(masks)), y, x]


# ------------------------------------------------------------- points and boxes


def test_random_points_are_any_of_the_region():
    torch.manual_seed(0)
    region = block(0, 0, 1, 1) | block(5, 3, 6, 5) | block(11, 15, 12, 16)
    points = sample_points(region.expand(400, -1, -1))
    places, counts = points.unique(dim=0, return_counts=True)
    assert places.tolist() == [[0, 0], [3, 5], [4, 5], [15, 11]]
    # A share of a quarter, five standard deviations wide.
    assert (counts - 100).abs().max() < 5 * math.sqrt(400 * 0.25 * 0.75)


def test_points_of_an_empty_region_are_in_the_image():
    points = sample_points(torch.zeros(2, 3, 5, dtype=torch.bool))
    assert (points >= 0).all() and (points < torch.tensor([5, 3])).all()


def test_the_innermost_point():
    """Of an L: of its thick leg; and of a region at the border, not on the border."""
    shape = block(1, 1, 10, 3) | block(5, 1, 10, 8)
    points, depths = innermost_points(torch.cat([shape, block(0, 0, 5, 5)]))
    assert points[0, 1] == 7 and points[0, 0] in (3, 4, 5)
    assert points[1].tolist() == [2, 2]
    assert depths.tolist() == [3, 3]
    points, depths = innermost_points(torch.zeros(1, 4, 4, dtype=torch.bool))
    assert depths.tolist() == [0]


@pytest.mark.parametrize('innermost', [0.0, 1.0])
def test_corrective_points_and_their_labels(innermost):
    torch.manual_seed(1)
    truth = block(2, 2, 8, 8).repeat(4, 1, 1)
    masks = torch.cat(
        [
            block(2, 2, 8, 5),  # misses the right half
            block(2, 2, 8, 14),  # and has as much to the right of it
            block(2, 2, 8, 8),  # is right
            block(2, 4, 8, 13),  # misses two columns, has five too many
        ]
    )
    points, labels = corrective_points(masks, truth, innermost)
    assert labels[:3].tolist() == [INSIDE, OUTSIDE, NO_POINT]
    wrong = masks != truth
    assert at(wrong, points)[[0, 1, 3]].all()
    assert (labels[3] == INSIDE) == bool(at(truth, points)[3])
    if innermost:
        # Of 3 x 6 pixels, of 6 x 6 and of the larger region, 5 x 6.
        assert points[0, 0] == 6 and points[0, 1] in (3, 4, 5, 6)
        assert points[1, 0] in (10, 11) and points[1, 1] in (4, 5)
        assert points[3, 0] == 10 and labels[3] == OUTSIDE


def test_a_share_of_the_points_is_innermost():
    torch.manual_seed(2)
    truth = block(3, 3, 8, 8).repeat(300, 1, 1)
    points, _ = corrective_points(torch.zeros_like(truth), truth, innermost=0.5)
    central = (points == 5).all(1).float().mean()
    assert central == pytest.approx(0.5 + 0.5 / 25, abs=5 * 0.5 / math.sqrt(300))


def test_boxes_of_masks_stay_in_the_image():
    torch.manual_seed(3)
    masks = torch.cat([block(2, 3, 7, 13), block(0, 0, 12, 16), block(4, 5, 5, 6)])
    boxes = find_boxes(masks)
    assert boxes.tolist() == [[3, 2, 13, 7], [0, 0, 16, 12], [5, 4, 6, 5]]
    moved = jitter_boxes(boxes[1:2].repeat(500, 1), (12, 16), noise=0.5)
    assert (moved >= 0).all()
    assert (moved <= torch.tensor([16, 12, 16, 12])).all()


def test_noise_of_boxes_is_a_share_of_the_side():
    torch.manual_seed(4)
    box = torch.tensor([[400.0, 300.0, 500.0, 350.0]]).repeat(4000, 1)
    shifts = jitter_boxes(box, (1000, 1000)) - box
    # 10 % of 100 and of 50 pixels, but never beyond 20.
    assert shifts.std(0).tolist() == pytest.approx([9.6, 5, 9.6, 5], rel=0.06)
    assert shifts.abs().max() == 20
    assert torch.equal(jitter_boxes(box, (1000, 1000), noise=0.0), box)


# ------------------------------------------------------------- losses


def test_focal_loss():
    """Two pixels: 0.25 (1 - p)^2 -log p, inside; 0.75 p^2 -log (1 - p), outside."""
    logits = torch.tensor([[[math.log(3.0), -math.log(4.0)]]], dtype=torch.float64)
    inside = 0.25 * 0.25**2 * -math.log(0.75)
    outside = 0.75 * 0.2**2 * -math.log(0.8)
    loss = focal_loss(logits, torch.tensor([[[1.0, 0.0]]], dtype=torch.float64))
    assert loss.item() == pytest.approx((inside + outside) / 2, rel=1e-12)


def test_focal_loss_of_a_pixel_on_the_edge_is_least_at_its_share():
    logits = torch.linspace(-4, 4, 161)[:, None, None]
    losses = focal_loss(logits, torch.full_like(logits, 0.5))
    assert losses.argmin() == 80
    assert losses.min() == 0


def test_dice_loss():
    logits = torch.tensor([[[math.log(3.0), -math.log(4.0)]]], dtype=torch.float64)
    loss = dice_loss(logits, torch.tensor([[[1.0, 0.0]]], dtype=torch.float64))
    assert loss.item() == pytest.approx(1 - (2 * 0.75 + 1) / (0.95 + 1 + 1), rel=1e-12)


@pytest.mark.parametrize(('options', 'weight'), [({}, 20), ({'focal_weight': 2}, 2)])
def test_losses_of_several_masks(options, weight):
    torch.manual_seed(5)
    logits, targets = torch.randn(2, 3, 4, 4), torch.rand(2, 1, 4, 4)
    losses = mask_losses(logits, targets, **options)
    assert losses.shape == (2, 3)
    same = targets[1, 0]
    focal, dice = (loss(logits[1, 2], same) for loss in (focal_loss, dice_loss))
    expected = weight * focal + dice
    assert losses[1, 2].item() == pytest.approx(expected.item(), rel=1e-5)


def test_iou_of_masks():
    truth = block(0, 0, 4, 4)
    masks = torch.cat([block(0, 0, 4, 2), block(0, 2, 4, 6), block(6, 6, 8, 8)])
    assert mask_ious(masks[None], truth[:, None]).tolist() == [
        pytest.approx([1 / 2, 1 / 3, 0])
    ]
    assert mask_ious(*torch.zeros(2, 1, 3, 3, dtype=torch.bool)).tolist() == [0]
