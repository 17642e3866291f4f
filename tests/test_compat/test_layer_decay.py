"""Rates that decay from layer to layer, with the constructors of each library."""

import pytest
import torch
from mmengine.optim import build_optim_wrapper
from torch import nn

from mmrapidnet.models import MobileViG, RapidNet, RepViT

# 4, 0, 0 and 7 blocks and a downsampling before all but the first: 2, 1, 1, 3 layers.
ARCH = dict(
    channels=(4, 4, 4, 4), local_blocks=(4, 0, 0, 5), global_blocks=(0, 0, 0, 2)
)
DEPTHS = {
    'backbone.stem.0.conv.weight': 0,
    'backbone.stem.1.norm.bias': 0,
    'backbone.stages.0.0.branch.expand.conv.weight': 1,
    'backbone.stages.0.2.branch.expand.conv.weight': 1,
    'backbone.stages.0.3.branch.expand.conv.weight': 2,
    'backbone.stages.1.0.conv.weight': 3,
    'backbone.stages.2.0.norm.weight': 4,
    'backbone.stages.3.0.conv.weight': 5,
    'backbone.stages.3.1.branch.expand.conv.weight': 5,
    'backbone.stages.3.3.branch.expand.conv.weight': 5,
    'backbone.stages.3.4.branch.expand.conv.weight': 6,
    'backbone.stages.3.7.ffn.branch.expand.conv.weight': 7,
    'head.weight': 8,
}


class Model(nn.Module):
    def __init__(self, backbone=None):
        super().__init__()
        self.backbone = backbone or RapidNet(arch=ARCH)
        self.head = nn.Linear(4, 2)


def settings(model, constructor, **paramwise):
    """The rate and the weight decay of each parameter."""
    wrapper = build_optim_wrapper(
        model,
        dict(
            optimizer=dict(type='AdamW', lr=1.0, weight_decay=0.5),
            constructor=constructor,
            paramwise_cfg=paramwise,
        ),
    )
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return {
        names[id(parameter)]: (group['lr'], group['weight_decay'])
        for group in wrapper.optimizer.param_groups
        for parameter in group['params']
    }


def test_layers():
    """Three blocks each, a downsampling with those after it."""
    model = Model()
    names = dict(model.named_parameters())
    for name, layer in DEPTHS.items():
        assert name in names
        assert model.backbone.get_layer_depth(name, 'backbone.') == (layer, 9)
    assert model.backbone.get_layer_depth('stem.0.conv.weight') == (0, 9)
    assert model.backbone.get_stage_depth('stages.2.0.norm.weight') == (3, 6)
    assert model.backbone.get_stage_depth('stem.0.conv.weight') == (0, 6)
    assert model.backbone.get_stage_depth('head.weight', 'backbone.') == (5, 6)


@pytest.mark.parametrize(
    ('backbone', 'count'),
    [
        # 1 + (2 + 1 + ... + 1): stages of 2, 2, 8 and 4 blocks are 1, 1, 3, 2 layers.
        (lambda: RapidNet('ti'), 9),
        # 2, 2, 6, 2 blocks: 1, 1, 2, 1 layers.
        (lambda: MobileViG('ti'), 7),
        # A downsampling block and 1, 2, 9, 1 others: 1, 1, 3, 1 layers.
        (lambda: RepViT('m0_6'), 8),
        # Stages that lead to no output are not built.
        (lambda: RapidNet('ti', out_indices=(0, 1)), 4),
    ],
)
def test_every_parameter_has_a_layer(backbone, count):
    backbone = backbone()
    found = [backbone.get_layer_depth(name) for name, _ in backbone.named_parameters()]
    assert {total for _, total in found} == {count}
    layers = [layer for layer, _ in found]
    assert layers == sorted(layers)
    assert set(layers) == set(range(count - 1))


@pytest.mark.parametrize('library', ['mmdet', 'mmseg'])
def test_by_the_constructor_of_a_library(library):
    pytest.importorskip(library)
    constructor = f'{library}.LearningRateDecayOptimizerConstructor'
    found = settings(Model(), constructor, decay_rate=0.5, num_layers=7)
    assert len(found) == len(list(Model().parameters()))
    for name, layer in DEPTHS.items():
        rate, decay = found[name]
        assert rate == 0.5 ** (8 - layer), name
        # As by the library: of matrices and kernels alone.
        assert decay == (0.0 if 'norm' in name else 0.5), name
    assert found['head.bias'] == (1.0, 0.0)
    stages = settings(Model(), constructor, decay_rate=0.5, decay_type='stage_wise')
    assert stages['backbone.stem.0.conv.weight'][0] == 0.5**5
    assert stages['backbone.stages.0.3.branch.expand.conv.weight'][0] == 0.5**4
    assert stages['backbone.stages.3.0.conv.weight'][0] == 0.5
    assert stages['head.weight'][0] == 1


def test_by_the_old_constructor_of_mmsegmentation():
    pytest.importorskip('mmseg')
    with pytest.warns(UserWarning, match='deprecated'):
        found = settings(
            Model(), 'mmseg.LayerDecayOptimizerConstructor', layer_decay_rate=0.5
        )
    assert found['backbone.stages.2.0.norm.weight'] == (0.5**4, 0.0)


def test_by_the_constructor_of_mmpretrain():
    """In a model of any library."""
    pytest.importorskip('mmpretrain')
    found = settings(
        Model(),
        'mmpretrain.LearningRateDecayOptimWrapperConstructor',
        layer_decay_rate=0.5,
        norm_decay_mult=0.0,
    )
    for name, layer in DEPTHS.items():
        assert found[name] == (0.5 ** (8 - layer), 0.0 if 'norm' in name else 0.5), name


def test_backbones_that_the_library_knows_are_its_own():
    """ConvNeXt's layers are those of mmdet's function, whatever the patch does."""
    det = pytest.importorskip(
        'mmdet.engine.optimizers.layer_decay_optimizer_constructor'
    )

    class ConvNeXt(nn.Module):
        def __init__(self):
            super().__init__()
            self.stages = nn.ModuleList([nn.Sequential(nn.Conv2d(1, 1, 1))])

        def get_layer_depth(self, name, prefix):
            raise AssertionError('not asked')

    constructor = 'mmdet.LearningRateDecayOptimizerConstructor'
    found = settings(Model(ConvNeXt()), constructor, decay_rate=0.5, num_layers=6)
    name = 'backbone.stages.0.0.weight'
    layer = det.get_layer_id_for_convnext(name, 6)
    assert found[name][0] == 0.5 ** (7 - layer)


class Plain(nn.Module):
    """A backbone that knows nothing of layers."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 1, 1)


def test_backbones_that_nobody_knows():
    pytest.importorskip('mmdet')
    with pytest.raises(NotImplementedError):
        settings(
            Model(Plain()),
            'mmdet.LearningRateDecayOptimizerConstructor',
            decay_rate=0.5,
            num_layers=6,
        )
    assert torch.is_grad_enabled()
