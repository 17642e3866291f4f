"""The compiled operators of mmcv against plain PyTorch."""

import pytest
import torch
import torch.nn.functional as F
from mmcv import ops
from torchvision.ops import box_iou


def sample(features, x, y):
    """Bilinear values at positions in pixels, zero outside: (N, C, *positions)."""
    height, width = features.shape[-2:]
    grid = torch.stack([2 * x / (width - 1) - 1, 2 * y / (height - 1) - 1], dim=-1)
    return F.grid_sample(features, grid, padding_mode='zeros', align_corners=True)


def deformed(x, weight, offset, mask):
    """A 3x3 convolution with padding 1 whose nine taps are moved and weighted."""
    rows, columns = torch.meshgrid(
        *(torch.arange(size, dtype=x.dtype) for size in x.shape[-2:]), indexing='ij'
    )
    result = 0
    for tap in range(9):
        dy, dx = offset[:, 2 * tap], offset[:, 2 * tap + 1]
        moved = sample(x, columns + tap % 3 - 1 + dx, rows + tap // 3 - 1 + dy)
        moved = moved * mask[:, tap, None]
        result += torch.einsum('nchw,oc->nohw', moved, weight[:, :, tap // 3, tap % 3])
    return result


@pytest.fixture
def taps():
    torch.manual_seed(0)
    x, weight = torch.randn(2, 5, 9, 11), torch.randn(4, 5, 3, 3)
    return x, weight, 2 * torch.randn(2, 18, 9, 11), torch.rand(2, 9, 9, 11)


def test_deform_conv2d(taps):
    x, weight, offset, _ = taps
    found = ops.deform_conv2d(x, offset, weight, 1, 1, 1, 1, 1)
    expected = deformed(x, weight, offset, torch.ones(2, 9, 9, 11))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_modulated_deform_conv2d(taps):
    x, weight, offset, mask = taps
    bias = torch.randn(4)
    found = ops.modulated_deform_conv2d(x, offset, mask, weight, bias, 1, 1, 1, 1, 1)
    expected = deformed(x, weight, offset, mask) + bias[:, None, None]
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_nms():
    torch.manual_seed(0)
    corners = 40 * torch.rand(60, 2)
    boxes = torch.cat([corners, corners + 5 + 20 * torch.rand(60, 2)], dim=1)
    scores = torch.rand(60)
    overlaps = box_iou(boxes, boxes)
    kept = []
    for index in scores.argsort(descending=True).tolist():
        if all(overlaps[index, other] <= 0.5 for other in kept):
            kept.append(index)
    detections, found = ops.nms(boxes, scores, iou_threshold=0.5)
    assert found.tolist() == kept
    assert 10 < len(kept) < 50
    assert torch.equal(detections, torch.cat([boxes, scores[:, None]], dim=1)[kept])


def test_roi_align():
    torch.manual_seed(0)
    features = torch.randn(2, 3, 20, 30)
    # Image, then corners in pixels of an image of four times the features' size.
    rois = torch.tensor([[0, 10, 8, 90, 70], [1, 33, 21, 55, 66]], dtype=torch.float)
    found = ops.roi_align(features, rois, (7, 7), 0.25, 2, 'avg', True)
    steps = (torch.arange(14) + 0.5) / 14
    for roi, image, pooled in zip(rois[:, 1:] * 0.25 - 0.5, rois[:, 0].long(), found):
        x = roi[0] + steps * (roi[2] - roi[0])
        y = roi[1] + steps * (roi[3] - roi[1])
        rows, columns = torch.meshgrid(y, x, indexing='ij')
        values = sample(features[image][None], columns[None], rows[None])
        expected = F.avg_pool2d(values, 2)[0]
        torch.testing.assert_close(pooled, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.skipif(not torch.cuda.is_available(), reason='mmcv has it for GPUs alone')
def test_sigmoid_focal_loss():
    torch.manual_seed(0)
    scores, labels = torch.randn(40, 6, device='cuda'), torch.arange(40) % 7
    target = F.one_hot(labels, 7)[:, :6].to(scores)
    p = scores.sigmoid()
    hit = torch.where(target == 1, p, 1 - p)
    weight = torch.where(target == 1, 0.25, 0.75)
    expected = (-weight * (1 - hit) ** 2 * hit.log()).mean()
    found = ops.sigmoid_focal_loss(scores, labels.cuda(), 2.0, 0.25, None, 'mean')
    torch.testing.assert_close(found, expected)
