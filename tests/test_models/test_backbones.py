"""The contract of a backbone, held by all three families."""

from dataclasses import dataclass, field

import pytest
import torch
from mmengine.registry import MODELS
from torch import nn

from dev.benchmark.peers import randomize_norms
from mmrapidnet.models import MobileViG, RapidNet, RepViT
from mmrapidnet.utils.errors import UserError

CHANNELS = (4, 6, 8, 10)


@dataclass(frozen=True)
class Family:
    """A backbone class, a small arch of it, and what is special about that."""

    kind: type
    arch: dict
    blocks: tuple[int, ...]
    published: str
    options: dict = field(default_factory=dict)

    def build(self, **kwargs):
        return self.kind(**{'arch': self.arch, **self.options, **kwargs})

    def tiny(self, **kwargs):
        torch.manual_seed(0)
        model = self.build(**kwargs)
        model.init_weights()
        return randomize_norms(model)


RAPIDNET = Family(
    RapidNet,
    dict(channels=CHANNELS, local_blocks=(1, 1, 1, 1), global_blocks=(0, 0, 1, 1)),
    (1, 1, 2, 2),
    'ti, s, m, b',
    dict(layer_scale_init_value=0.5),
)
DEFORMABLE = Family(
    RapidNet,
    RAPIDNET.arch,
    RAPIDNET.blocks,
    RAPIDNET.published,
    dict(layer_scale_init_value=0.5, mixer='deformable'),
)
MOBILEVIG = Family(
    MobileViG,
    dict(channels=CHANNELS, blocks=(1, 1, 2, 2)),
    (1, 1, 2, 2),
    'ti, s, m, b',
    dict(layer_scale_init_value=0.5),
)
REPVIT = Family(
    RepViT,
    dict(channels=CHANNELS, blocks=(2, 3, 4, 2)),
    (2, 3, 4, 2),
    'm0_6, m0_9, m1_0, m1_1, m1_5, m2_3',
)
REPVIT_EARLY = Family(
    RepViT, REPVIT.arch, REPVIT.blocks, REPVIT.published, dict(tap='before_last')
)
FAMILIES = {
    'RapidNet': RAPIDNET,
    'RapidNet-deformable': DEFORMABLE,
    'MobileViG': MOBILEVIG,
    'RepViT': REPVIT,
    'RepViT-before_last': REPVIT_EARLY,
}


@pytest.fixture(params=FAMILIES)
def family(request) -> Family:
    return FAMILIES[request.param]


@pytest.mark.parametrize('size', [(33, 31), (1, 1)])
def test_shapes_and_odd_sizes(family, size):
    model = family.tiny().eval()
    features = model(torch.randn(2, 3, *size))
    for feature, channels, stride in zip(
        features, CHANNELS, (4, 8, 16, 32), strict=True
    ):
        expected = (2, channels, -(-size[0] // stride), -(-size[1] // stride))
        assert tuple(feature.shape) == expected
        assert feature.isfinite().all()


def test_smallest_size_in_training(family):
    """Batch normalisation needs more than one value a channel."""
    family.tiny()(torch.randn(2, 3, 1, 1))
    with pytest.raises(ValueError, match='more than 1 value per channel'):
        family.tiny()(torch.randn(1, 3, 32, 32))


@pytest.mark.parametrize('indices', [(1, 3), 2])
def test_taps(family, indices):
    """A choice of taps gives the same features from the same weights."""
    model = family.tiny(out_indices=indices).eval()
    full = family.tiny().eval()
    state = full.state_dict()
    model.load_state_dict({name: state[name] for name in model.state_dict()})
    x = torch.randn(1, 3, 40, 40)
    wanted = (indices,) if isinstance(indices, int) else indices
    with torch.no_grad():
        outs, all_outs = model(x), full(x)
    assert model.out_channels == tuple(CHANNELS[i] for i in wanted)
    assert model.strides == tuple((4, 8, 16, 32)[i] for i in wanted)
    assert len(model.stages) == max(wanted) + 1
    for out, i in zip(outs, wanted, strict=True):
        assert torch.equal(out, all_outs[i])


@pytest.mark.parametrize(
    ('kwargs', 'message'),
    [
        (dict(arch='xxl'), r"unknown arch 'xxl' of {name}: .* {published}, or give"),
        (
            dict(arch=dict(channels=(1, 2, 3, 4))),
            r'{name} has exactly the keys channels',
        ),
        (dict(out_indices=(0, 4)), r'out_indices=\(0, 4\) .* 0 to 3'),
        (dict(out_indices=(1, 0)), r'out_indices=\(1, 0\) .* ascending'),
        (dict(out_indices=(1, 1)), r'out_indices=\(1, 1\)'),
        (dict(out_indices=()), r'out_indices=\(\)'),
        (dict(out_indices=-1), r'out_indices=\(-1,\)'),
        (dict(frozen_stages=5), r'frozen_stages=5 is out of range: .* up to 4 stages'),
        (dict(out_indices=(0,), frozen_stages=2), r'frozen_stages=2 .* up to 1 '),
        (dict(drop_path_rate=1.0), r'drop_path_rate=1.0 does not fit'),
        (dict(drop_path_rate=[0.1] * 5), r'a list of {blocks}, one for each block'),
    ],
)
def test_bad_arguments(family, kwargs, message):
    message = message.format(
        name=family.kind.__name__,
        published=family.published,
        blocks=sum(family.blocks),
    )
    with pytest.raises(UserError, match=message):
        family.build(**kwargs)


@pytest.mark.parametrize('key', ['channels', 'depths'])
def test_bad_arch(family, key):
    key = key if key == 'channels' else next(k for k in family.arch if k != 'channels')
    name = family.kind.__name__
    least = 0 if key == 'local_blocks' or family.kind is MobileViG else 1
    least = 1 if key == 'channels' else least
    message = rf"arch\['{key}'\] of {name} needs 4 whole numbers of at least {least}"
    for values in ((1, 1, 1), (least - 1, 6, 8, 10), (1.5, 2, 3, 4)):
        with pytest.raises(UserError, match=message):
            family.build(arch={**family.arch, key: values})


def test_every_parameter_gets_a_gradient(family):
    model = family.tiny()
    sum(f.square().mean() for f in model(torch.randn(2, 3, 64, 64))).backward()
    without = [n for n, p in model.named_parameters() if p.grad is None]
    assert without == []
    # A bias before batch normalisation has none but rounding errors; that of the
    # depthwise 1x1 convolution stands before one, too.
    flat = [
        n
        for n, p in model.named_parameters()
        if not p.grad.abs().max() > 0
        and not n.endswith(('conv.bias', 'pointwise.bias'))
    ]
    assert flat == []


@pytest.mark.parametrize('indices', [(0,), (0, 2)])
def test_partial_taps_leave_no_unused_parameters(family, indices):
    model = family.tiny(out_indices=indices)
    sum(f.square().mean() for f in model(torch.randn(2, 3, 64, 64))).backward()
    assert all(p.grad is not None for p in model.parameters())


@pytest.mark.parametrize(
    ('stages', 'norm'), [(-1, 'BN'), (0, 'BN'), (1, 'BN'), (3, 'SyncBN')]
)
def test_frozen_stages(family, stages, norm):
    model = family.build(frozen_stages=stages, norm_cfg=dict(type=norm))
    assert model.train() is model
    assert model.eval() is model
    model.train()
    frozen = [] if stages < 0 else [model.stem, *model.stages[:stages]]
    free = [m for m in (model.stem, *model.stages) if m not in frozen]
    norms = nn.modules.batchnorm._BatchNorm
    for module in frozen:
        assert not any(p.requires_grad for p in module.parameters())
        assert not any(m.training for m in module.modules())
    for module in free:
        assert all(p.requires_grad for p in module.parameters())
        assert all(m.training for m in module.modules() if isinstance(m, norms))


def test_frozen_statistics_do_not_move(family):
    model = family.tiny(frozen_stages=1, norm_eval=True).train()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    model(torch.randn(2, 3, 64, 64))
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())


def test_norm_eval_trains_the_affine_part(family):
    model = family.tiny(norm_eval=True).train()
    norms = [
        m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)
    ]
    assert norms
    assert not any(norm.training for norm in norms)
    assert all(norm.weight.requires_grad for norm in norms)


def test_checkpointing_changes_nothing(family):
    """Outputs, gradients and running statistics, which count the batch once."""
    x = torch.randn(2, 3, 64, 64)
    results = []
    for with_cp in (False, True):
        model = family.tiny(with_cp=with_cp, drop_path_rate=0.3).train()
        torch.manual_seed(1)
        outs = model(x)
        sum(f.square().mean() for f in outs).backward()
        grads = {n: p.grad for n, p in model.named_parameters()}
        results.append((outs, grads, dict(model.named_buffers())))
    (outs, grads, buffers), (outs_cp, grads_cp, buffers_cp) = results
    for a, b in zip(outs, outs_cp, strict=True):
        assert torch.equal(a, b)
    assert all(torch.equal(grads[n], grads_cp[n]) for n in grads)
    assert all(torch.equal(buffers[n], buffers_cp[n]) for n in buffers)


def test_checkpointing_recomputes(family):
    model = family.tiny(with_cp=True).train()
    calls = []
    model.stages[3][1].register_forward_pre_hook(lambda *_: calls.append(1))
    sum(f.mean() for f in model(torch.randn(2, 3, 64, 64))).backward()
    assert len(calls) == 2


def settled(model: nn.Module) -> nn.Module:
    """Give normalisations the statistics of some data, so that values stay small."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    model.train()(torch.randn(4, 3, 64, 96))
    return model.eval()


def test_float64_agrees_with_float32(family):
    model = settled(family.tiny())
    x = torch.randn(1, 3, 48, 80)
    single = model(x)
    for a, b in zip(model.double()(x.double()), single, strict=True):
        assert a.dtype == torch.float64
        torch.testing.assert_close(a.float(), b, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ('family', 'tolerance'),
    [
        (RAPIDNET, 0.02),
        (MOBILEVIG, 0.02),
        # No layer scale dampens what earlier blocks have rounded away.
        (REPVIT, 0.05),
    ],
)
def test_half_precision(family, tolerance):
    """Not deformable: mmcv's operator has no half precision on a CPU."""
    model = settled(family.tiny())
    x = torch.randn(1, 3, 48, 80)
    single = model(x)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        auto = model(x)
    for a, b in zip(single, auto, strict=True):
        assert (a - b.float()).abs().max() < 5 * tolerance * a.abs().max()
    if _torch_convolves_halves():
        for a, b in zip(single, model.half()(x.half()), strict=True):
            assert b.dtype == torch.float16
            assert (a - b.float()).abs().max() < tolerance * a.abs().max()


def _torch_convolves_halves():
    """torch 2.1 does not on a CPU."""
    try:
        nn.Conv2d(1, 1, 1).half()(torch.zeros(1, 1, 1, 1).half())
    except RuntimeError:
        return False
    return True


@pytest.mark.parametrize(
    'family', [RAPIDNET, MOBILEVIG, REPVIT], ids=lambda f: f.published
)
def test_channels_last_is_kept(family):
    model = family.tiny().eval().to(memory_format=torch.channels_last)
    x = torch.randn(2, 3, 64, 96).to(memory_format=torch.channels_last)
    for out in model(x):
        assert out.is_contiguous(memory_format=torch.channels_last)


def test_drop_path_rates(family):
    """One rate per block, whatever number of residuals it has."""

    def rates(model):
        found = []
        for stage in model.stages:
            for block in stage:
                drops = {
                    getattr(m.drop_path, 'drop_prob', 0.0)
                    for m in block.modules()
                    if hasattr(m, 'drop_path')
                }
                assert len(drops) <= 1
                found += drops
        return found

    total = sum(family.blocks)
    linear = [0.5 * i / (total - 1) for i in range(total)]
    assert rates(family.build(drop_path_rate=0.5)) == pytest.approx(linear)
    given = [0.0, 0.0, *[0.3] * (total - 3), 0.2]
    assert rates(family.build(drop_path_rate=given)) == pytest.approx(given)
    # Leaving out stages does not change the others' rates.
    part = rates(family.build(drop_path_rate=0.5, out_indices=(0, 1)))
    assert part == pytest.approx(linear[: len(part)])
    assert len(part) >= 2


def test_default_initialisation(family):
    torch.manual_seed(0)
    model = family.build(arch=family.published.split(',')[0])
    model.init_weights()
    conv = model.stages[1][0].modules()
    conv = next(m for m in conv if isinstance(m, nn.Conv2d) and m.weight.numel() > 4000)
    # Kaiming, fan in: variance 2 / (inputs of a kernel).
    fan_in = conv.weight[0].numel()
    assert conv.weight.std().item() == pytest.approx((2 / fan_in) ** 0.5, rel=0.04)
    biases = [m.bias for m in model.modules() if getattr(m, 'bias', None) is not None]
    assert all(bias.abs().max() == 0 for bias in biases)


@pytest.mark.parametrize('library', ['mmengine', 'mmdet', 'mmseg', 'mmpretrain'])
@pytest.mark.parametrize('kind', [RapidNet, RepViT, MobileViG])
def test_registered_once_at_the_root(kind, library):
    pytest.importorskip(library)
    registry = __import__(f'{library}.registry', fromlist=['MODELS']).MODELS
    assert registry.get(kind.__name__) is kind
    assert MODELS.get(kind.__name__) is kind
    arch = next(iter(kind.arch_settings))
    with torch.device('meta'):
        built = registry.build(dict(type=kind.__name__, arch=arch))
    assert isinstance(built, kind)
