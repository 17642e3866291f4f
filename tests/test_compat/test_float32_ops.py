"""mmcv's operators and mmdet's RoI extractors under bfloat16 autocast on a CPU."""

import pytest
import torch

from mmrapidnet.compat import float32_ops

mmcv_ops = pytest.importorskip('mmcv.ops')


@pytest.fixture(autouse=True)
def _patched():
    pytest.importorskip('mmdet.models')
    float32_ops.apply()
    float32_ops.apply()


def _low(*shape, seed=0):
    """Values that bfloat16 holds exactly."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(-8, 8, shape, generator=generator) / 4


def test_nms_takes_bfloat16_scores():
    boxes = torch.tensor([[0.0, 0, 10, 10], [1, 0, 11, 10], [30, 30, 40, 40]])
    scores = torch.tensor([0.5, 0.75, 0.25], dtype=torch.bfloat16)
    detections, kept = mmcv_ops.nms(boxes, scores, iou_threshold=0.5)
    assert kept.tolist() == [1, 2]
    assert detections[:, -1].tolist() == [0.75, 0.25]


def test_roi_align_computes_in_float32_and_passes_gradients_back():
    features = _low(1, 2, 16, 16)
    rois = torch.tensor([[0, 1.3, 2.7, 9.1, 12.9]])
    low = features.bfloat16().requires_grad_()
    full = features.clone().requires_grad_()
    align = mmcv_ops.RoIAlign(3, 1.0, 2)
    with torch.autocast('cpu', torch.bfloat16):
        output = align(low, rois)
    expected = align(full, rois)
    assert output.dtype == torch.float32
    assert torch.equal(output, expected)
    output.sum().backward()
    expected.sum().backward()
    assert low.grad.dtype == torch.bfloat16
    assert torch.equal(low.grad, full.grad.bfloat16())


def test_deformable_convolution_computes_in_float32():
    convolution = mmcv_ops.DeformConv2d(2, 3, 3, padding=1)
    with torch.no_grad():
        convolution.weight.copy_(_low(3, 2, 3, 3))
    inputs, offsets = _low(1, 2, 6, 6), _low(1, 18, 6, 6, seed=1)
    with torch.autocast('cpu', torch.bfloat16):
        output = convolution(inputs.bfloat16(), offsets.bfloat16())
    assert output.dtype == torch.float32
    assert torch.equal(output, convolution(inputs, offsets))


def test_other_types_are_left_alone():
    features = _low(1, 2, 16, 16).double()
    rois = torch.tensor([[0, 1.0, 2, 9, 12]], dtype=torch.float64)
    assert mmcv_ops.RoIAlign(3, 1.0, 2)(features, rois).dtype == torch.float64


def test_boxes_keep_their_place_in_the_roi_extractor():
    from mmdet.models.roi_heads import SingleRoIExtractor

    layer = {'type': 'RoIAlign', 'output_size': 2, 'sampling_ratio': 1}
    extractor = SingleRoIExtractor(layer, out_channels=1, featmap_strides=[4])
    # A ramp along x: bilinear sampling gives x / 4 - 0.5 itself.
    ramp = torch.arange(256.0).expand(1, 1, 8, 256)
    rois = torch.tensor([[0, 901.0, 4, 909, 12]])
    with torch.autocast('cpu', torch.bfloat16):
        output = extractor((ramp.bfloat16(),), rois)
    # Two bins of 4 pixels, centred at 903 and 907.
    assert output[0, 0, 0].tolist() == [903 / 4 - 0.5, 907 / 4 - 0.5]
