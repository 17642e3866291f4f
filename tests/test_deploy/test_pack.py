"""Packed models compute what they are packed from."""

import pytest
import torch
from conftest import REPO
from mmcv.cnn import ConvModule
from mmengine.registry import MODELS, DefaultScope
from torch import nn

from mmrapidnet.benchmark.peers import build_model, randomize_norms
from mmrapidnet.deploy import fuse, pack
from mmrapidnet.deploy.pack import PackedConv2d
from mmrapidnet.engine.config import load_config
from mmrapidnet.errors import UserError

TOLERANCE = 1e-5


def relative(found, expected):
    return ((found - expected).norm() / expected.norm()).item()


def count(model, kind):
    return sum(type(module) is kind for module in model.modules())


@pytest.mark.parametrize('name', ['rapidnet_ti', 'repvit_m0_9', 'mobilevig_ti'])
def test_classifiers_at_other_sizes_and_batches_too(name):
    fused = fuse(build_model(name))
    before = {k: v.clone() for k, v in fused.state_dict().items()}
    packed = pack(fused, lambda model: model(torch.zeros(1, 3, 64, 96)))
    assert count(packed, nn.Conv2d) == 0
    assert count(packed, PackedConv2d) == count(fused, nn.Conv2d)
    # mmcv's models bring GELU as a layer of a sequence: none is left beside it.
    assert count(packed, nn.GELU) < count(fused, nn.GELU)
    with torch.no_grad():
        for size in ((1, 3, 64, 96), (2, 3, 33, 70)):
            image = torch.randn(size)
            assert relative(packed(image), fused(image)) < TOLERANCE
            nhwc = image.to(memory_format=torch.channels_last)
            assert relative(packed(nhwc), fused(image)) < TOLERANCE
    assert all(torch.equal(v, before[k]) for k, v in fused.state_dict().items())


def test_small_maps_that_pytorch_would_compute_slowly():
    """Its own convolution takes over below 20480 numbers: dilation, odd padding."""
    conv = nn.Conv2d(16, 24, 3, padding=3, dilation=3, stride=2)
    model = nn.Sequential(conv, nn.ReLU()).eval()
    image = torch.randn(1, 16, 7, 9)
    packed = pack(model, lambda module: module(image))
    with torch.no_grad():
        assert relative(packed(image), model(image)) < TOLERANCE
    assert packed[0].activation == 'relu' and isinstance(packed[1], nn.Identity)


@pytest.mark.parametrize(
    ('layer', 'packed'),
    [
        (ConvModule(4, 8, 3, padding=1), True),
        (ConvModule(4, 8, 3, act_cfg=None), True),
        (ConvModule(4, 8, 3, norm_cfg=dict(type='BN')), True),
        (ConvModule(4, 8, 3, act_cfg=dict(type='HSwish')), True),
        (ConvModule(4, 8, 3, order=('act', 'conv', 'norm')), True),
        (nn.Sequential(nn.Conv2d(4, 8, 3), nn.GELU('tanh')), True),
        (nn.Sequential(nn.Conv2d(4, 8, 3), nn.BatchNorm2d(8), nn.GELU()), True),
        (nn.Sequential(nn.Conv2d(4, 8, 3, padding_mode='reflect', padding=1)), False),
    ],
)
@pytest.mark.parametrize('fused', [False, True])
def test_what_follows_a_convolution(layer, packed, fused):
    model = randomize_norms(layer).eval()
    if fused:
        model = fuse(model)
    image = torch.randn(2, 4, 11, 9)
    found = pack(model, lambda module: module(image))
    assert count(found, PackedConv2d) == packed
    with torch.no_grad():
        assert relative(found(image), model(image)) < TOLERANCE


def test_whole_detector():
    """Backbone, neck and heads, one convolution on maps of several sizes."""
    cfg = load_config(str(REPO / 'configs' / 'maskrcnn_rapidnet_ti_shapes.py'))
    with DefaultScope.overwrite_default_scope('mmdet'):
        model = fuse(randomize_norms(MODELS.build(cfg.model)).eval())
    image = torch.randn(1, 3, 64, 96)

    def run(module):
        features = module.extract_feat(image)
        return features, module.rpn_head(features)

    packed = pack(model, run)
    assert isinstance(packed.rpn_head.rpn_conv, PackedConv2d)
    # Not reached: the mask head saw no box.
    assert type(packed.roi_head.mask_head.convs[0].conv) is nn.Conv2d
    with torch.no_grad():
        (maps, rpn), (own_maps, own_rpn) = run(packed), run(model)
    found = [*maps, *rpn[0], *rpn[1]]
    expected = [*own_maps, *own_rpn[0], *own_rpn[1]]
    assert max(map(relative, found, expected)) < TOLERANCE


def test_what_cannot_be_packed(monkeypatch):
    layer = nn.Sequential(nn.Conv2d(3, 4, 1))
    with pytest.raises(UserError, match='Sequential is in training mode: call its ev'):
        pack(layer, lambda model: None)
    with pytest.raises(UserError, match=r'has parameters in torch.float64 on cpu: pac'):
        pack(layer.double().eval(), lambda model: None)
    monkeypatch.setattr(torch.backends.mkldnn, 'is_available', lambda: False)
    with pytest.raises(UserError, match='this PyTorch has no oneDNN'):
        pack(layer.float().eval(), lambda model: None)
