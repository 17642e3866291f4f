"""What is RepViT's own: its taps, its squeeze-and-excitations; timm agrees."""

import pytest
import torch
from helpers.golden import largest_difference

from dev.benchmark.peers import randomize_norms
from mmrapidnet.checkpoints.convert.convert import convert_checkpoint
from mmrapidnet.checkpoints.state_dict import get_state_dict, read_checkpoint
from mmrapidnet.models import RepViT
from mmrapidnet.models.backbones.repvit import SqueezeExcitation
from mmrapidnet.models.layers import DistilledLinearClassifier
from mmrapidnet.utils.errors import UserError

TINY = dict(channels=(4, 6, 8, 10), blocks=(2, 3, 4, 2))


@pytest.mark.parametrize(
    ('arch', 'with_se'),
    [
        ('m0_6', [[0], [1], [1, 3, 5, 7], [1]]),
        ('m0_9', [[0], [1], [1, 3, 5, 7, 9, 11, 13], [1]]),
        ('m1_5', [[0, 2], [1, 3], list(range(1, 25, 2)), [1, 3]]),
    ],
)
def test_where_squeeze_and_excitation_stands(arch, with_se):
    with torch.device('meta'):
        model = RepViT(arch=arch)
    found = [
        [
            j
            for j, block in enumerate(stage)
            if any(isinstance(m, SqueezeExcitation) for m in block.modules())
        ]
        for stage in model.stages
    ]
    assert found == with_se


def test_taps_one_block_earlier():
    torch.manual_seed(0)
    end = randomize_norms(RepViT(arch=TINY)).eval()
    early = RepViT(arch=TINY, tap='before_last').eval()
    early.load_state_dict(end.state_dict())
    seen = {}
    for i, stage in enumerate(end.stages):
        stage[-2].register_forward_hook(
            lambda module, args, out, i=i: seen.__setitem__(i, out)
        )
    x = torch.randn(1, 3, 64, 64)
    ends, earlier = end(x), early(x)
    for i in range(3):
        assert torch.equal(earlier[i], seen[i])
        assert not torch.equal(earlier[i], ends[i])
    assert torch.equal(earlier[3], ends[3])


def test_the_block_after_the_last_tap_is_not_built():
    model = RepViT(arch=TINY, tap='before_last', out_indices=(0, 1))
    assert [len(stage) for stage in model.stages] == [2, 2]
    model = RepViT(arch=TINY, tap='before_last', out_indices=(0, 3))
    assert [len(stage) for stage in model.stages] == [2, 3, 4, 2]


def test_bad_taps():
    with pytest.raises(
        UserError, match="unknown tap 'last' of RepViT: choose stage_end"
    ):
        RepViT(arch=TINY, tap='last')
    single = dict(channels=(4, 6, 8, 10), blocks=(1, 3, 4, 2))
    RepViT(arch=single)
    with pytest.raises(UserError, match=r'at least two blocks .* has \(1, 3, 4, 2\)'):
        RepViT(arch=single, tap='before_last')


def test_a_last_stage_that_keeps_the_resolution():
    """The same parameters, read at twice the resolution."""
    torch.manual_seed(0)
    usual = randomize_norms(RepViT(arch=TINY)).eval()
    dense = RepViT(arch=TINY, last_stride=1).eval()
    dense.load_state_dict(usual.state_dict())
    assert usual.strides == (4, 8, 16, 32)
    assert dense.strides == (4, 8, 16, 16)
    assert RepViT(arch=TINY, last_stride=1, out_indices=2).strides == (16,)
    x = torch.randn(1, 3, 64, 96)
    expected, features = usual(x), dense(x)
    for ours, theirs in zip(features[:3], expected[:3]):
        assert torch.equal(ours, theirs)
    assert features[3].shape == (1, 10, 4, 6)
    # The strided convolution leaves out every other one of these pixels.
    pixels = dense.stages[3][0].depthwise(features[2])
    left = usual.stages[3][0].depthwise(features[2])
    torch.testing.assert_close(pixels[..., ::2, ::2], left)


def test_bad_last_stride():
    with pytest.raises(UserError, match='last_stride=3 of RepViT: choose 1 or 2'):
        RepViT(arch=TINY, last_stride=3)


# timm counts a stage's last block to the next stage's downsampling.
TIMM = {
    'm0_6': dict(embed_dim=(40, 80, 160, 320), depth=(1, 1, 8, 1)),
    'm0_9': 'repvit_m0_9',
    'm1_0': 'repvit_m1_0',
    'm1_1': 'repvit_m1_1',
    'm1_5': 'repvit_m1_5',
    'm2_3': 'repvit_m2_3',
}


@pytest.mark.parametrize(
    'arch',
    [pytest.param(arch, marks=pytest.mark.slow) for arch in TIMM if arch != 'm0_9']
    + ['m0_9'],
)
@torch.no_grad()
def test_equals_timm(arch, tmp_path):
    """Random weights in timm's names, through a converted file, in float64."""
    timm = pytest.importorskip('timm')
    from timm.models.repvit import RepVit

    torch.manual_seed(0)
    if isinstance(TIMM[arch], str):
        theirs = timm.create_model(TIMM[arch], pretrained=False)
    else:
        theirs = RepVit(**TIMM[arch], distillation=True, legacy=False)
    theirs = randomize_norms(theirs).double().eval()
    torch.save(theirs.state_dict(), tmp_path / 'timm.pth')
    conversion = convert_checkpoint(tmp_path / 'timm.pth', tmp_path / 'ours.pth')
    assert conversion.model == f'repvit_{arch}'

    ours = RepViT(
        arch=arch,
        tap='before_last',
        init_cfg=dict(type='Pretrained', checkpoint=str(tmp_path / 'ours.pth')),
    ).double()
    ours.init_weights()
    ours.eval()
    top = DistilledLinearClassifier(ours.out_channels[-1], 1000).double().eval()
    state = get_state_dict(read_checkpoint(str(tmp_path / 'ours.pth')), 'ours.pth')
    top.load_state_dict({n: state[f'head.classifier.{n}'] for n in top.state_dict()})

    image = torch.randn(1, 3, 64, 96, dtype=torch.float64)
    features = ours(image)
    final, intermediates = theirs.forward_intermediates(image)
    for feature, expected in zip(features, intermediates, strict=True):
        assert largest_difference(feature, expected) < 1e-12
    assert largest_difference(features[-1], final) < 1e-12
    assert largest_difference(top(features[-1]), theirs(image)) < 1e-12
