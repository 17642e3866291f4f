"""mmcv's operators give the same of feature maps in either layout."""

import pytest
import torch

ops = pytest.importorskip('mmcv.ops')

ROIS = torch.tensor([[0, 1.0, 1, 12, 12], [1, 2, 3, 9, 15]])
OFFSETS = torch.randn(2, 18, 16, 16, generator=torch.Generator().manual_seed(1))
MASKS = OFFSETS[:, :9].sigmoid()
WEIGHT = torch.randn(4, 8, 3, 3, generator=torch.Generator().manual_seed(2))
OPERATORS = {
    'RoIAlign': lambda x, layout: ops.RoIAlign(7, 1.0, sampling_ratio=2)(x, ROIS),
    'RoIAlign, max': lambda x, layout: ops.RoIAlign(7, 1.0, pool_mode='max')(x, ROIS),
    'deformable': lambda x, layout: ops.deform_conv2d(
        x, OFFSETS.to(memory_format=layout), WEIGHT, 1, 1
    ),
    'modulated deformable': lambda x, layout: ops.modulated_deform_conv2d(
        x,
        OFFSETS.to(memory_format=layout),
        MASKS.to(memory_format=layout),
        WEIGHT,
        None,
        1,
        1,
    ),
}


@pytest.mark.parametrize('name', OPERATORS)
def test_feature_maps_in_either_layout(name):
    values = torch.randn(2, 8, 16, 16, generator=torch.Generator().manual_seed(0))
    results = []
    for layout in (torch.contiguous_format, torch.channels_last):
        x = values.to(memory_format=layout, copy=True).requires_grad_()
        out = OPERATORS[name](x, layout)
        gradient = torch.linspace(-1, 1, out.numel()).view(out.shape)
        out.backward(gradient.to(memory_format=layout))
        results.append((out.detach(), x.grad))
    for plain, channels_last in zip(*results):
        assert torch.equal(plain, channels_last)
