"""Each block against the same computation on plain tensors."""

import pytest
import torch
import torch.nn.functional as F
from conftest import randomize_norms

from mmrapidnet.models import layers

BN = dict(type='BN')
GELU = dict(type='GELU')


def conv_norm(x, layer, gelu=False):
    """Convolution, batch normalisation in evaluation, GELU, spelt out."""
    conv, norm = layer.conv, layer.norm
    x = F.conv2d(
        x,
        conv.weight,
        conv.bias,
        conv.stride,
        conv.padding,
        conv.dilation,
        conv.groups,
    )
    shape = (1, -1, 1, 1)
    x = (x - norm.running_mean.view(shape)) / (
        norm.running_var.view(shape) + 1e-5
    ).sqrt() * norm.weight.view(shape) + norm.bias.view(shape)
    if gelu:
        x = x * 0.5 * (1 + torch.erf(x / 2**0.5))
    return x


@pytest.fixture
def x():
    return torch.randn(
        2, 4, 11, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(1)
    )


def ready(module):
    torch.manual_seed(0)
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return randomize_norms(module).double().eval()


def test_dilated_mixer(x):
    mixer = ready(layers.DilatedMixer(4, BN, GELU))
    encoded = x + F.conv2d(
        x, mixer.cpe.conv.weight, mixer.cpe.conv.bias, padding=3, groups=4
    )
    y = conv_norm(encoded, mixer.proj_in)
    dilated = [
        conv_norm(y, mixer.branches[0], gelu=True),
        conv_norm(y, mixer.branches[1], gelu=True),
    ]
    expected = conv_norm(dilated[0] + dilated[1], mixer.proj_out)
    torch.testing.assert_close(mixer(x), expected, rtol=1e-12, atol=1e-12)


def test_dilated_mixer_reads_where_its_dilations_reach():
    """A spike is seen at distances 0, 2 and 3 from it and nowhere else."""
    mixer = layers.DilatedMixer(1, BN, GELU).double().eval()
    for conv in (m for m in mixer.modules() if isinstance(m, torch.nn.Conv2d)):
        torch.nn.init.constant_(conv.weight, float(conv is not mixer.cpe.conv))
        torch.nn.init.zeros_(conv.bias)
    spike = torch.zeros(1, 1, 9, 9, dtype=torch.float64)
    spike[0, 0, 4, 4] = 1
    seen = mixer(spike)[0, 0].abs() > 1e-9
    expected = torch.zeros(9, 9, dtype=torch.bool)
    for distance in (2, 3):
        for dy in (-distance, 0, distance):
            for dx in (-distance, 0, distance):
                expected[4 + dy, 4 + dx] = True
    assert torch.equal(seen, expected)


def test_inverted_residual(x):
    block = ready(layers.InvertedResidual(4, BN, GELU))
    y = conv_norm(x, block.expand, gelu=True)
    y = conv_norm(y, block.depthwise, gelu=True)
    torch.testing.assert_close(block(x), conv_norm(y, block.project))
    assert block.expand.conv.out_channels == 16
    assert block.depthwise.conv.groups == 16


def test_large_kernel_ffn(x):
    ffn = ready(layers.LargeKernelFFN(4, BN, GELU))
    y = conv_norm(x, ffn.depthwise)
    y = conv_norm(y, ffn.expand, gelu=True)
    torch.testing.assert_close(ffn(x), conv_norm(y, ffn.project))
    assert ffn.depthwise.conv.bias is None
    assert ffn.depthwise.conv.kernel_size == (7, 7)
    assert ffn.expand.conv.bias is not None


def test_scaled_residual(x):
    block = layers.ScaledResidual(
        torch.nn.ReLU(), 4, layer_scale_init_value=0.25
    ).double()
    assert block.scale.shape == (4, 1, 1)
    block.scale.data[1] = 2.0
    expected = x + x.relu() * torch.tensor([0.25, 2.0, 0.25, 0.25]).view(1, 4, 1, 1)
    torch.testing.assert_close(block(x), expected)


def test_stochastic_depth_skips_whole_samples():
    block = layers.ScaledResidual(
        torch.nn.Identity(), 1, drop_path_rate=0.5, layer_scale_init_value=1.0
    ).train()
    torch.manual_seed(0)
    out = block(torch.ones(2000, 1, 1, 1)).flatten()
    # A skipped branch leaves x; a kept one is divided by the chance to be kept.
    assert set(out.tolist()) == {1.0, 3.0}
    assert 0.45 < (out == 1).float().mean() < 0.55
    assert block.eval()(torch.ones(1, 1, 1, 1)).item() == 2.0


def test_distilled_classifier(x):
    top = ready(layers.DistilledClassifier(4, 8, 3))
    pooled = x.mean((2, 3), keepdim=True)
    hidden = conv_norm(pooled, top.hidden, gelu=True)
    logits = [
        F.conv2d(hidden, head.weight, head.bias).flatten(1)
        for head in (top.head, top.dist_head)
    ]
    torch.testing.assert_close(top(x), (logits[0] + logits[1]) / 2)
    pair = top.train()(x)
    assert [tuple(out.shape) for out in pair] == [(2, 3), (2, 3)]
