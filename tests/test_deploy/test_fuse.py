"""A fused model computes what the model computes, without batch normalisation."""

from copy import deepcopy

import pytest
import torch
from helpers import tiny_models
from helpers.archs import one_per_family
from helpers.commands import REPO
from mmengine.registry import MODELS, DefaultScope
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from dev.benchmark.peers import randomize_norms
from dev.model_zoo.classifiers import MODEL_NAMES, build_classifier
from mmrapidnet.config.load import load_config
from mmrapidnet.deploy import fuse, is_fused
from mmrapidnet.models import MobileViG, RapidNet, RepViT
from mmrapidnet.models.backbones.rapidnet import ConditionalPositionEncoding
from mmrapidnet.models.backbones.repvit import RepDepthwise
from mmrapidnet.models.layers import (
    ConvNormAct,
    DistilledClassifier,
    DistilledLinearClassifier,
    ScaledResidual,
)
from mmrapidnet.models.reparam import reparameterize
from mmrapidnet.utils.errors import UserError

CLASSES = dict(rapidnet=RapidNet, mobilevig=MobileViG, repvit=RepViT)
TOLERANCE = 1e-9
ODD_SIZES = ((33, 47), (50, 35), (41, 66))
# A config of each family and task, whose backbone takes every arch.
DENSE = {
    'maskrcnn': dict(rapidnet='ti', mobilevig='m', repvit='m1_1'),
    'semfpn': dict(rapidnet='ti', mobilevig='m', repvit='m1_1'),
}
TINY = dict(
    channels=(8, 16, 24, 32), local_blocks=(1, 0, 0, 0), global_blocks=(0, 0, 0, 2)
)
ABLATIONS = [
    dict(mixer='pointwise', cpe=False, large_kernel_ffn=False),
    dict(mixer='conv3x3', cpe=False, large_kernel_ffn=False),
    dict(mixer='single_level', cpe=False, large_kernel_ffn=False),
    dict(mixer='single_level', large_kernel_ffn=False),
    dict(mixer='single_level'),
    dict(mixer_dilations=(3, 4)),
    dict(mixer_kernel_sizes=(5, 3)),
]


def only(names, name):
    """All others are slow: necks and heads are the same on every backbone."""
    assert name in names
    slow = pytest.mark.slow
    return [n if n == name else pytest.param(n, marks=slow) for n in names]


def randomize(model: nn.Module) -> nn.Module:
    """Statistics, and layer scales that do not hide what they scale."""
    randomize_norms(model)
    for name, parameter in model.named_parameters():
        if name.endswith('.scale'):
            nn.init.uniform_(parameter, 0.1, 0.5)
    return model.double().eval()


def build_dense(task: str, name: str) -> nn.Module:
    """A dense model on a backbone, with normalisation in the neck, too."""
    family, _, arch = name.partition('_')
    data = 'coco' if task == 'maskrcnn' else 'ade20k'
    path = REPO / 'configs' / f'{task}_{family}_{DENSE[task][family]}_{data}.py'
    cfg = load_config(str(path))
    cfg.model.backbone.arch = arch
    cfg.model.backbone.drop_path_rate = 0.1
    channels = CLASSES[family].arch_settings[arch]['channels']
    cfg.model.neck.in_channels = list(channels)
    cfg.model.neck.norm_cfg = dict(type='BN')
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        return randomize(MODELS.build(cfg.model))


def images(height: int, width: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(height)
    return torch.randn(2, 3, height, width, dtype=torch.float64, generator=generator)


def assert_equal(ours, theirs) -> None:
    for one, other in zip(ours, theirs, strict=True):
        assert one.shape == other.shape
        assert (one - other).abs().max() <= TOLERANCE * other.abs().max()


def norms_of(model: nn.Module) -> list[nn.Module]:
    return [module for module in model.modules() if isinstance(module, _BatchNorm)]


@torch.no_grad()
@pytest.mark.parametrize('name', one_per_family(MODEL_NAMES))
def test_backbone_and_logits(name):
    torch.manual_seed(0)
    model = randomize(build_classifier(name))
    before = deepcopy(model.state_dict())
    fused = fuse(model)
    assert norms_of(model) and not norms_of(fused)
    for size in ODD_SIZES:
        image = images(*size)
        assert_equal(fused.backbone(image), model.backbone(image))
        assert_equal([fused(image)], [model(image)])
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())


@torch.no_grad()
@pytest.mark.parametrize('arguments', ABLATIONS, ids=str)
def test_ablations(arguments):
    torch.manual_seed(0)
    model = randomize(RapidNet(arch=TINY, **arguments))
    fused = fuse(model)
    assert not norms_of(fused)
    assert_equal(fused(images(47, 66)), model(images(47, 66)))


@torch.no_grad()
def test_deformable_mixer():
    """mmcv's operator computes on the CPU in single precision."""
    torch.manual_seed(0)
    model = randomize(RapidNet(arch=TINY, mixer='deformable')).float()
    for parameter in model.stages[3][-1].mixer.branch.offset.parameters():
        nn.init.normal_(parameter, std=0.1)
    fused = fuse(model)
    assert not norms_of(fused)
    image = images(47, 66).float()
    for ours, theirs in zip(fused(image), model(image), strict=True):
        assert (ours - theirs).abs().max() <= 1e-5 * theirs.abs().max()


@torch.no_grad()
@pytest.mark.parametrize('name', only(MODEL_NAMES, 'repvit_m0_6'))
def test_detector(name):
    """Neck, RPN maps, and what the RoI heads say of given boxes."""
    torch.manual_seed(0)
    model = build_dense('maskrcnn', name)
    fused = fuse(model)
    assert norms_of(model) and not norms_of(fused)
    boxes = torch.tensor(
        [[0, 3.0, 2.0, 40.0, 30.0], [1, 10.5, 0.0, 62.0, 61.25]], dtype=torch.float64
    )
    for size in ODD_SIZES[:2]:
        maps = [each.extract_feat(images(*size)) for each in (fused, model)]
        assert_equal(*maps)
        scores, deltas = zip(
            *(each.rpn_head(m) for each, m in zip((fused, model), maps)), strict=True
        )
        assert_equal(*scores)
        assert_equal(*deltas)
        heads = [each.roi_head for each in (fused, model)]
        found = [head._bbox_forward(m, boxes) for head, m in zip(heads, maps)]
        masks = [head._mask_forward(m, boxes) for head, m in zip(heads, maps)]
        for key in ('cls_score', 'bbox_pred'):
            assert_equal([found[0][key]], [found[1][key]])
        assert_equal([masks[0]['mask_preds']], [masks[1]['mask_preds']])


@torch.no_grad()
@pytest.mark.parametrize('name', only(MODEL_NAMES, 'mobilevig_ti'))
def test_segmenter(name):
    torch.manual_seed(0)
    model = build_dense('semfpn', name)
    fused = fuse(model)
    assert norms_of(model.decode_head) and not norms_of(fused)
    for size in ODD_SIZES[:2]:
        assert_equal([fused(images(*size))], [model(images(*size))])


@torch.no_grad()
def test_final_detections(tmp_path):
    """In single precision, as they are used."""
    from mmdet.testing import demo_mm_inputs

    torch.manual_seed(0)
    cfg = tiny_models.load('detector', tmp_path, tmp_path, tiny_models.TWO_BLOCKS)
    model = tiny_models.build_model(cfg)
    # Scores that spread over the classes, so that there are detections.
    nn.init.normal_(model.roi_head.bbox_head.fc_cls.weight, std=0.3)
    batch = model.data_preprocessor(demo_mm_inputs(1, [[3, 96, 127]]))
    image, samples = batch['inputs'], batch['data_samples']
    (theirs,) = model.predict(image, deepcopy(samples), rescale=False)
    (ours,) = fuse(model).predict(image, samples, rescale=False)
    ours, theirs = ours.pred_instances, theirs.pred_instances
    assert len(theirs) > 10
    assert torch.equal(ours.labels, theirs.labels)
    torch.testing.assert_close(ours.scores, theirs.scores, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(ours.bboxes, theirs.bboxes, rtol=1e-4, atol=1e-2)
    assert (ours.masks != theirs.masks).float().mean() < 1e-3


def test_a_second_call_changes_nothing():
    fused = fuse(RapidNet(arch='ti').eval())
    assert is_fused(fused) and fuse(fused) is fused
    again = deepcopy(fused)
    assert is_fused(again)
    assert again.eval() is again and not again.training
    assert not any(parameter.requires_grad for parameter in fused.parameters())


BN = dict(type='BN')


class Both(nn.Module):
    """Two parents of one layer, which the second holds under two names."""

    def __init__(self, layer):
        super().__init__()
        self.one = nn.ModuleDict({'layer': layer})
        self.other = nn.ModuleDict({'layer': layer, 'again': layer})

    def forward(self, x):
        return [
            self.one['layer'](x),
            self.other['layer'](x + 1),
            self.other['again'](x + 2),
        ]


def shared_layers():
    from mmcv.cnn import ConvModule

    return {
        'ConvNormAct': ConvNormAct(4, 4, 3, norm_cfg=BN),
        'ConvModule': ConvModule(4, 4, 3, norm_cfg=BN),
        'Sequential': nn.Sequential(nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4)),
        'encoding': ConditionalPositionEncoding(4),
        'RepDepthwise': RepDepthwise(4, BN),
        'residual': ScaledResidual(ConvNormAct(4, 4, norm_cfg=BN), 4),
        'classifier': DistilledClassifier(4, 6, 5),
        'linear classifier': DistilledLinearClassifier(4, 5),
    }


@torch.no_grad()
@pytest.mark.parametrize('kind', list(shared_layers()))
def test_a_layer_of_two_parents_is_folded_once(kind):
    torch.manual_seed(0)
    model = randomize(Both(shared_layers()[kind]))
    fused = fuse(model)
    assert not norms_of(fused)
    assert fused.one['layer'] is fused.other['layer'] is fused.other['again']
    image = torch.randn(2, 4, 9, 7, dtype=torch.float64)
    assert_equal(fused(image), model(image))
    # Once more changes nothing.
    assert_equal(reparameterize(fused)(image), model(image))


@torch.no_grad()
@pytest.mark.parametrize('kind', ['Sequential', 'ConvModule', 'ConvNormAct', 'scale'])
def test_what_each_parent_would_change_stays(kind):
    """As where the levels of a head share convolutions, but no normalisation."""
    torch.manual_seed(0)
    conv = nn.Conv2d(4, 4, 1)
    if kind == 'Sequential':
        layers = [nn.Sequential(conv, nn.BatchNorm2d(4)) for _ in range(3)]
    elif kind == 'scale':
        layers = [ScaledResidual(nn.Sequential(conv), 4) for _ in range(3)]
    else:
        layers = [shared_layers()[kind] for _ in range(3)]
        for layer in layers[:2]:
            layer.conv = layers[2].conv
    model = randomize(nn.ModuleList(layers))
    fused = fuse(model)
    assert len(norms_of(fused)) == (0 if kind == 'scale' else 3)
    image = torch.randn(2, 4, 9, 7, dtype=torch.float64)
    assert_equal([layer(image) for layer in fused], [layer(image) for layer in model])
    assert len({layer(image).sum().item() for layer in fused}) == 3


def test_training_is_refused():
    model = RapidNet(arch='ti')
    with pytest.raises(UserError, match='RapidNet is in training mode: fusing merges'):
        fuse(model)
    assert not is_fused(model)
    copy = deepcopy(fuse(model.eval()))
    with pytest.raises(UserError, match='this RapidNet is fused, for evaluation only'):
        copy.train()
    assert model.train().training


def test_what_is_not_linear_stays():
    group_norm = dict(type='GN', num_groups=2)
    layer = reparameterize(ConvNormAct(4, 4, norm_cfg=group_norm).eval())
    assert isinstance(layer.norm, nn.GroupNorm)
    # Without statistics of its own, evaluation normalises by the batch.
    by_batch = ConvNormAct(4, 4, norm_cfg=dict(type='BN', track_running_stats=False))
    assert isinstance(reparameterize(by_batch.eval()).norm, nn.BatchNorm2d)
    # With another normalisation the layer scale stays as well.
    model = randomize(RapidNet(arch='ti', norm_cfg=group_norm))
    assert_equal(fuse(model)(images(33, 47)), model(images(33, 47)))


def test_other_orders_of_a_conv_module():
    from mmcv.cnn import ConvModule

    norm = dict(norm_cfg=dict(type='BN'))
    first = ConvModule(4, 4, 1, order=('norm', 'conv', 'act'), **norm)
    last = ConvModule(4, 6, 3, **norm)
    model = randomize(nn.Sequential(first, last))
    fused = fuse(model)
    assert len(norms_of(fused)) == 1
    image = torch.randn(1, 4, 9, 7, dtype=torch.float64)
    assert_equal([fused(image)], [model(image)])
