"""Counts against hand-computed ones and the published table."""

import sys

import pytest
import torch
from helpers.archs import COSTS, one_per_family
from helpers.commands import run_command
from mmcv.ops import DeformConv2d
from torch import nn

from dev.model_zoo.classifiers import MODEL_NAMES, build_classifier, measure
from mmrapidnet.apis.complexity import count_macs, count_parameters
from mmrapidnet.utils.errors import UserError

BACKBONE_ALONE = {
    'rapidnet_ti': 5.486,
    'rapidnet_s': 8.071,
    'rapidnet_m': 16.113,
    'rapidnet_b': 28.697,
}


class Deformable(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = DeformConv2d(3, 4, 3, padding=1)

    def forward(self, x):
        return self.conv(x, x.new_zeros(len(x), 18, *x.shape[2:]))


def test_counts_by_hand():
    module = nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1),  # 3 * 8 * 9 + 8 parameters
        nn.BatchNorm2d(8),  # 16
        nn.GELU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 5),  # 45
    )
    assert count_parameters(module) == 224 + 16 + 45
    pixels = 5 * 10
    by_hand = pixels * 8 * 27 + pixels * 8 * 2 + pixels * 8 + 8 * 5
    assert count_macs(module, (10, 20)) == by_hand


def test_counting_counts_frozen_parameters_and_leaves_the_module_alone():
    module = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2)).train()
    module[0].requires_grad_(False)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    assert count_parameters(module) == 4 + 4
    assert count_macs(module, (3, 5), in_channels=1) == 15 * 2 + 15 * 2 * 2
    assert all(m.training for m in module.modules())
    assert all(torch.equal(before[k], v) for k, v in module.state_dict().items())


def test_what_cannot_be_counted_is_not_left_out():
    """The tracer knows no deformable convolution and would count nothing for it."""
    assert count_macs(Deformable(), (8, 8)) is None
    assert count_macs(nn.Sequential(Deformable(), nn.Conv2d(4, 4, 1)), (8, 8)) is None
    assert count_parameters(Deformable()) == 3 * 4 * 9


@pytest.mark.parametrize('name', one_per_family(MODEL_NAMES))
def test_published_counts(name):
    params, gmacs = COSTS[name]
    model = build_classifier(name)
    backbone, whole = measure(model.backbone), measure(model)
    assert round(whole.params / 1e6, 3) == params
    assert round(whole.macs / 1e9, 3) == gmacs
    assert backbone.params < whole.params
    assert backbone.macs < whole.macs
    if name in BACKBONE_ALONE:
        assert round(backbone.params / 1e6, 3) == BACKBONE_ALONE[name]


def test_every_published_model_is_known():
    assert set(MODEL_NAMES) == set(COSTS)


def test_classifier_classifies():
    model = build_classifier('repvit_m0_6', num_classes=7).eval()
    features = model.backbone(image := torch.randn(2, 3, 64, 64))
    logits = model(image)
    assert logits.shape == (2, 7)
    assert torch.equal(logits, model.classifier(features[-1]))


def test_unknown_model():
    with pytest.raises(UserError, match="'rapidnet_xl': choose one of rapidnet_ti, "):
        build_classifier('rapidnet_xl')


def test_counting_needs_no_task_library():
    code = (
        "import sys, dev.model_zoo.classifiers as c; c.build_classifier('rapidnet_"
        "ti'); assert not {'mmdet', 'mmseg', 'mmpretrain'} & set(sys.modules)"
    )
    done = run_command(sys.executable, '-c', code)
    assert done.returncode == 0, done.stderr
