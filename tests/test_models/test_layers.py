"""Each block against the same computation on plain tensors."""

import pytest
import torch
import torch.nn.functional as F

from dev.benchmark.peers import randomize_norms
from mmrapidnet.models import layers
from mmrapidnet.models.backbones import mobilevig, rapidnet, repvit

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
    mixer = ready(rapidnet.DilatedMixer(4, BN, GELU))
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
    mixer = rapidnet.DilatedMixer(1, BN, GELU).double().eval()
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
    ffn = ready(rapidnet.LargeKernelFFN(4, BN, GELU))
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


def test_feed_forward(x):
    ffn = ready(layers.FeedForward(4, BN, GELU, expansion=2, bias=False))
    y = conv_norm(x, ffn.expand, gelu=True)
    torch.testing.assert_close(ffn(x), conv_norm(y, ffn.project))
    assert ffn.expand.conv.out_channels == 8
    assert ffn.expand.conv.bias is None and ffn.project.conv.bias is None
    assert layers.FeedForward(4, BN, GELU).expand.conv.out_channels == 16


@pytest.mark.parametrize('hop', [2, 3])
def test_graph_mixer(x, hop):
    """As the paper has it: the greatest difference, pixel by pixel."""
    mixer = ready(mobilevig.GraphMixer(4, BN, GELU, hop=hop))
    y = conv_norm(x, mixer.proj_in)
    height, width = y.shape[2:]
    greatest = torch.zeros_like(y)
    for row in range(height):
        for column in range(width):
            for i in range(hop, height, hop):
                difference = y[:, :, row, column] - y[:, :, (row - i) % height, column]
                greatest[:, :, row, column].clamp_(min=difference)
            for i in range(hop, width, hop):
                difference = y[:, :, row, column] - y[:, :, row, (column - i) % width]
                greatest[:, :, row, column].clamp_(min=difference)
    assert (greatest > 0).any() and (greatest == 0).any()
    z = conv_norm(torch.cat([y, greatest], 1), mixer.graph_conv, gelu=True)
    torch.testing.assert_close(mixer(x), conv_norm(z, mixer.proj_out))


def test_rep_depthwise(x):
    mixer = ready(repvit.RepDepthwise(4, BN))
    y = conv_norm(x, mixer.depthwise)
    y = y + x * mixer.pointwise.weight.view(1, 4, 1, 1)
    y = y + mixer.pointwise.bias.view(1, 4, 1, 1) + x
    norm = mixer.norm
    expected = F.batch_norm(
        y, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=1e-5
    )
    torch.testing.assert_close(mixer(x), expected)
    assert mixer.depthwise.conv.bias is None


def test_squeeze_excitation(x):
    layer = ready(repvit.SqueezeExcitation(4))
    pooled = x.mean((2, 3))
    hidden = F.relu(
        F.linear(pooled, layer.reduce.weight[:, :, 0, 0], layer.reduce.bias)
    )
    weight = F.linear(hidden, layer.expand.weight[:, :, 0, 0], layer.expand.bias)
    expected = x / (1 + torch.exp(-weight))[:, :, None, None]
    torch.testing.assert_close(layer(x), expected)


@pytest.mark.parametrize(
    ('channels', 'hidden'), [(40, 8), (48, 16), (56, 16), (80, 24), (640, 160)]
)
def test_squeeze_excitation_width(channels, hidden):
    """RepViT's published shapes."""
    assert repvit.SqueezeExcitation(channels).reduce.out_channels == hidden


def test_local_block(x):
    block = ready(layers.LocalBlock(4, BN, GELU, 0.0, 0.5))
    expected = x + block.scale * block.branch(x)
    torch.testing.assert_close(block(x), expected)


def test_residual(x):
    block = layers.Residual(torch.nn.ReLU())
    torch.testing.assert_close(block(x), x + x.relu())
    assert not block.state_dict()


def test_deformable_mixer_shares_its_offsets(x):
    """Offsets of whole pixels only shift what all branches read."""
    mixer = ready(rapidnet.DeformableMixer(4, BN, GELU))
    for parameter in mixer.offset.parameters():
        torch.nn.init.zeros_(parameter)
    # Every tap reads one row further down.
    mixer.offset.bias.data[0::2] = 1.0
    y = conv_norm(mixer.cpe(x), mixer.proj_in)
    shifted = F.pad(y, (0, 0, 0, 1))[:, :, 1:]
    mixed = 0
    for branch, dilation in zip(mixer.branches, (2, 3), strict=True):
        z = F.conv2d(
            F.pad(shifted, (dilation,) * 4), branch.conv.weight, dilation=dilation
        )
        mixed = mixed + F.gelu(branch.norm(z))
    expected = conv_norm(mixed, mixer.proj_out)
    # A row read from above the image is part of it once shifted, so not the first rows.
    torch.testing.assert_close(mixer(x)[:, :, 3:], expected[:, :, 3:])


def test_distilled_linear_classifier():
    top = ready(layers.DistilledLinearClassifier(4, 5))
    for norm in (top.norm, top.dist_norm):
        norm.running_mean.uniform_(-0.5, 0.5)
    x = torch.randn(3, 4, 2, 5, dtype=torch.float64)
    pooled = x.flatten(2).mean(2)

    def logits(norm, head):
        scaled = (pooled - norm.running_mean) / (norm.running_var + 1e-5).sqrt()
        return head(scaled * norm.weight + norm.bias)

    first, second = logits(top.norm, top.head), logits(top.dist_norm, top.dist_head)
    torch.testing.assert_close(top(x), (first + second) / 2)
    assert not torch.allclose(first, second)
    assert len(top.train()(x)) == 2
