"""What is RapidNet's own: the mixers of the ablations, the initial layer scale."""

import pytest
import torch

from mmrapidnet.models import RapidNet
from mmrapidnet.models.backbones.rapidnet import DeformableMixer, DilatedMixer
from mmrapidnet.models.layers import FeedForward
from mmrapidnet.utils.errors import UserError

TINY = dict(
    channels=(4, 6, 8, 10), local_blocks=(1, 1, 1, 1), global_blocks=(0, 0, 1, 1)
)


def mixer_of(**kwargs):
    return RapidNet(arch=TINY, **kwargs).stages[3][2].mixer.branch


@pytest.mark.parametrize(
    ('kwargs', 'kernels', 'dilations'),
    [
        ({}, [3, 3], [2, 3]),
        (dict(mixer='pointwise'), [1], [1]),
        (dict(mixer='conv3x3'), [3], [1]),
        (dict(mixer='single_level'), [3], [2]),
        (dict(mixer_dilations=(3, 4)), [3, 3], [3, 4]),
        (dict(mixer_kernel_sizes=(5, 3)), [5, 3], [2, 3]),
        (
            dict(mixer_kernel_sizes=(3, 3, 5), mixer_dilations=(1, 2, 3)),
            [3, 3, 5],
            [1, 2, 3],
        ),
        (dict(mixer='deformable', mixer_dilations=(1, 2)), [3, 3], [1, 2]),
    ],
)
def test_mixers(kwargs, kernels, dilations):
    mixer = mixer_of(**kwargs)
    deformable = kwargs.get('mixer') == 'deformable'
    assert type(mixer) is (DeformableMixer if deformable else DilatedMixer)
    convs = [branch.conv for branch in mixer.branches]
    assert [conv.kernel_size for conv in convs] == [(k, k) for k in kernels]
    assert [conv.dilation for conv in convs] == [(d, d) for d in dilations]
    pads = [k // 2 * d for k, d in zip(kernels, dilations, strict=True)]
    assert [conv.padding for conv in convs] == [(p, p) for p in pads]


def test_mixer_without_position_encoding_and_ffn_without_large_kernel():
    block = RapidNet(arch=TINY, cpe=False, large_kernel_ffn=False).stages[3][2]
    names = block.state_dict()
    assert not [name for name in names if 'cpe' in name or 'depthwise' in name]
    assert type(block.ffn.branch) is FeedForward


@pytest.mark.parametrize(
    ('kwargs', 'message'),
    [
        (
            dict(mixer='attention'),
            "unknown mixer 'attention' of RapidNet: choose one of pointwise, conv3x3, "
            'single_level, multi_level, deformable',
        ),
        (
            dict(mixer='single_level', mixer_dilations=(2, 3)),
            r"dilations=\(2, 3\) do not fit mixer='single_level': .* one branch an odd",
        ),
        (dict(mixer_dilations=(2, 3, 4)), r'\(3, 3\) and .*\(2, 3, 4\) do not fit'),
        (dict(mixer_kernel_sizes=(4, 3)), r'mixer_kernel_sizes=\(4, 3\) .* odd kernel'),
        (dict(mixer_dilations=(0, 1)), r'dilation of at least 1'),
        (dict(mixer_kernel_sizes=(), mixer_dilations=()), r'one branch or more'),
        (
            dict(mixer='deformable', mixer_kernel_sizes=(3, 5)),
            r'kernel sizes \(3, 5\) of a deformable mixer differ: .* all the same size',
        ),
    ],
)
def test_bad_mixers(kwargs, message):
    with pytest.raises(UserError, match=message):
        RapidNet(arch=TINY, **kwargs)


def test_deformable_mixer_starts_as_a_plain_one():
    """Zero offsets read where a dilated convolution reads."""
    torch.manual_seed(0)
    deformable = RapidNet(arch=TINY, mixer='deformable')
    deformable.init_weights()
    state = deformable.state_dict()
    assert state['stages.2.2.mixer.branch.offset.weight'].abs().max() == 0
    weight = state['stages.3.2.mixer.branch.branches.0.conv.weight']
    # Kaiming, fan in, as every other convolution.
    assert weight.std().item() == pytest.approx((2 / 90) ** 0.5, rel=0.1)

    plain = RapidNet(arch=TINY)
    for name, value in plain.state_dict().items():
        value.copy_(state.get(name, torch.zeros_like(value)))
    x = torch.randn(1, 3, 70, 64)
    deformable.eval(), plain.eval()
    for a, b in zip(deformable(x), plain(x), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_initial_layer_scale():
    model = RapidNet(arch='ti')
    model.init_weights()
    assert model.stages[0][0].scale.unique().tolist() == [pytest.approx(1e-5)]
    assert model.stages[3][3].ffn.scale.unique().tolist() == [pytest.approx(1e-5)]
