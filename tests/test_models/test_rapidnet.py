"""RapidNet against the published table and the contract of a backbone."""

import subprocess
import sys

import pytest
import torch
from conftest import REPO, randomize_norms
from mmengine.analysis import get_model_complexity_info
from mmengine.registry import MODELS
from torch import nn

from mmrapidnet.errors import UserError
from mmrapidnet.models import RapidNet
from mmrapidnet.models.layers import DistilledClassifier

TINY = dict(
    channels=(4, 6, 8, 10), local_blocks=(1, 1, 1, 1), global_blocks=(0, 0, 1, 1)
)

# arch: width of the head, parameters with both heads and of the backbone alone in
# millions, multiply-accumulates at 224 in billions.
TABLE = {
    'ti': (512, 6.628, 5.486, 0.628),
    's': (512, 9.213, 8.071, 0.912),
    'm': (512, 17.304, 16.113, 1.615),
    'b': (768, 30.556, 28.697, 3.384),
}


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def tiny(**kwargs) -> RapidNet:
    torch.manual_seed(0)
    model = RapidNet(arch=TINY, layer_scale_init_value=0.5, **kwargs)
    model.init_weights()
    return randomize_norms(model)


@pytest.mark.parametrize('arch', TABLE)
def test_counts_equal_the_table(arch):
    hidden, both, alone, gmacs = TABLE[arch]
    backbone = RapidNet(arch=arch)
    top = DistilledClassifier(backbone.out_channels[-1], hidden, 1000)
    assert round(count(backbone) / 1e6, 3) == alone
    assert round((count(backbone) + count(top)) / 1e6, 3) == both

    class Classifier(nn.Module):
        def __init__(self):
            super().__init__()
            self.backbone, self.top = backbone, top

        def forward(self, x):
            return self.top(self.backbone(x)[-1])

    counted = get_model_complexity_info(
        Classifier().eval(),
        inputs=(torch.zeros(1, 3, 224, 224),),
        show_table=False,
        show_arch=False,
    )
    assert round(counted['flops'] / 1e9, 3) == gmacs


@pytest.mark.parametrize('size', [(64, 96), (65, 97), (33, 31), (7, 130), (1, 1)])
def test_shapes_and_odd_sizes(size):
    model = tiny().eval()
    features = model(torch.randn(2, 3, *size))
    for feature, channels, stride in zip(
        features, TINY['channels'], (4, 8, 16, 32), strict=True
    ):
        expected = (2, channels, -(-size[0] // stride), -(-size[1] // stride))
        assert tuple(feature.shape) == expected
        assert feature.isfinite().all()


def test_smallest_size_in_training():
    """Batch normalisation needs more than one value a channel."""
    tiny()(torch.randn(2, 3, 1, 1))
    with pytest.raises(ValueError, match='more than 1 value per channel'):
        tiny()(torch.randn(1, 3, 32, 32))


@pytest.mark.parametrize('indices', [(0,), (1, 3), (0, 1, 2), 2])
def test_taps(indices):
    model = tiny(out_indices=indices).eval()
    full = tiny().eval()
    x = torch.randn(1, 3, 40, 40)
    wanted = (indices,) if isinstance(indices, int) else indices
    with torch.no_grad():
        outs, all_outs = model(x), full(x)
    assert model.out_channels == tuple(TINY['channels'][i] for i in wanted)
    assert model.strides == tuple((4, 8, 16, 32)[i] for i in wanted)
    assert len(model.stages) == max(wanted) + 1
    for out, i in zip(outs, wanted, strict=True):
        assert out.shape == all_outs[i].shape


def test_taps_give_the_same_features_from_the_same_weights():
    full = tiny().eval()
    part = RapidNet(arch=TINY, out_indices=(1, 2)).eval()
    part.load_state_dict(
        {k: v for k, v in full.state_dict().items() if k in part.state_dict()}
    )
    x = torch.randn(1, 3, 40, 40)
    for a, b in zip(part(x), full(x)[1:3], strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize(
    ('kwargs', 'message'),
    [
        (
            dict(arch='xxl'),
            r"unknown arch 'xxl' of RapidNet: .* ti, s, m, b",
        ),
        (dict(arch=dict(channels=(1, 2, 3, 4))), r'exactly the keys channels, local_'),
        (
            dict(arch={**TINY, 'local_blocks': (1, 1, 1)}),
            r"arch\['local_blocks'\] of RapidNet needs 4 whole numbers",
        ),
        (
            dict(arch={**TINY, 'channels': (0, 6, 8, 10)}),
            r"arch\['channels'\] .* of at least 1",
        ),
        (dict(out_indices=(0, 4)), r'out_indices=\(0, 4\) .* 0 to 3'),
        (dict(out_indices=(1, 0)), r'out_indices=\(1, 0\) .* ascending'),
        (dict(out_indices=(1, 1)), r'out_indices=\(1, 1\)'),
        (dict(out_indices=()), r'out_indices=\(\)'),
        (dict(out_indices=-1), r'out_indices=\(-1,\)'),
        (dict(frozen_stages=5), r'frozen_stages=5 is out of range: .* up to 4 stages'),
        (dict(out_indices=(0,), frozen_stages=2), r'frozen_stages=2 .* up to 1 '),
        (dict(drop_path_rate=1.0), r'drop_path_rate=1.0 does not fit'),
        (dict(drop_path_rate=[0.1] * 5), r'a list of 6, one for each block'),
    ],
)
def test_bad_arguments(kwargs, message):
    with pytest.raises(UserError, match=message):
        RapidNet(**{'arch': TINY, **kwargs})


def test_every_parameter_gets_a_gradient():
    model = tiny()
    sum(f.square().mean() for f in model(torch.randn(2, 3, 64, 64))).backward()
    without = [n for n, p in model.named_parameters() if p.grad is None]
    assert without == []
    # A bias before batch normalisation has none but rounding errors.
    flat = [
        n
        for n, p in model.named_parameters()
        if not p.grad.abs().max() > 0 and not n.endswith('conv.bias')
    ]
    assert flat == []


def test_partial_taps_leave_no_unused_parameters():
    model = tiny(out_indices=(0, 2))
    sum(f.square().mean() for f in model(torch.randn(2, 3, 64, 64))).backward()
    assert all(p.grad is not None for p in model.parameters())


@pytest.mark.parametrize('norm', ['BN', 'SyncBN'])
@pytest.mark.parametrize('stages', [-1, 0, 1, 3])
def test_frozen_stages(stages, norm):
    model = RapidNet(arch=TINY, frozen_stages=stages, norm_cfg=dict(type=norm))
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


def test_frozen_statistics_do_not_move():
    model = tiny(frozen_stages=1, norm_eval=True).train()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    model(torch.randn(2, 3, 64, 64))
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())


def test_norm_eval_trains_the_affine_part():
    model = tiny(norm_eval=True).train()
    norm = model.stages[3][0].norm
    assert not norm.training
    assert norm.weight.requires_grad


def test_checkpointing_changes_nothing():
    """Outputs, gradients and running statistics, which count the batch once."""
    x = torch.randn(2, 3, 64, 64)
    results = []
    for with_cp in (False, True):
        model = tiny(with_cp=with_cp, drop_path_rate=0.3).train()
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


def test_checkpointing_recomputes():
    model = tiny(with_cp=True).train()
    calls = []
    model.stages[3][1].register_forward_pre_hook(lambda *_: calls.append(1))
    sum(f.mean() for f in model(torch.randn(2, 3, 64, 64))).backward()
    assert len(calls) == 2


def test_float64_agrees_with_float32():
    model = tiny().eval()
    x = torch.randn(1, 3, 48, 80)
    single = model(x)
    for a, b in zip(model.double()(x.double()), single, strict=True):
        assert a.dtype == torch.float64
        torch.testing.assert_close(a.float(), b, rtol=1e-4, atol=1e-4)


def test_half_precision():
    model = tiny().eval()
    x = torch.randn(1, 3, 48, 80)
    single = model(x)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        auto = model(x)
    half = model.half()(x.half())
    for a, b, c in zip(single, half, auto, strict=True):
        assert b.dtype == torch.float16
        assert (a - b.float()).abs().max() < 0.02 * a.abs().max()
        assert (a - c.float()).abs().max() < 0.1 * a.abs().max()


def test_channels_last_is_kept():
    model = tiny().eval().to(memory_format=torch.channels_last)
    x = torch.randn(2, 3, 64, 96).to(memory_format=torch.channels_last)
    for out in model(x):
        assert out.is_contiguous(memory_format=torch.channels_last)


def test_drop_path_rates():
    def rates(model):
        return [
            getattr(block.drop_path, 'drop_prob', 0.0)
            for stage in model.stages
            for module in stage
            for block in (
                [module]
                if hasattr(module, 'drop_path')
                else [m for m in module.children() if hasattr(m, 'drop_path')]
            )
        ]

    # Six blocks of which the two global ones have two residuals each.
    linear = rates(RapidNet(arch=TINY, drop_path_rate=0.5))
    assert linear == pytest.approx([0, 0.1, 0.2, 0.3, 0.3, 0.4, 0.5, 0.5])
    listed = rates(RapidNet(arch=TINY, drop_path_rate=[0, 0, 0.1, 0.2, 0, 0.3]))
    assert listed == pytest.approx([0, 0, 0.1, 0.2, 0.2, 0, 0.3, 0.3])
    # Leaving out stages does not change the others' rates.
    part = rates(RapidNet(arch=TINY, drop_path_rate=0.5, out_indices=(0, 1)))
    assert part == pytest.approx([0, 0.1])


def test_default_initialisation():
    torch.manual_seed(0)
    model = RapidNet(arch='ti')
    model.init_weights()
    conv = model.stages[3][3].mixer.branch.branches[0].conv
    # Kaiming, fan in: variance 2 / (224 * 3 * 3).
    assert conv.weight.std().item() == pytest.approx((2 / 2016) ** 0.5, rel=0.02)
    assert conv.bias.abs().max() == 0
    assert model.stages[0][0].scale.unique().tolist() == [pytest.approx(1e-5)]


@pytest.mark.parametrize('library', ['mmdet', 'mmseg', 'mmpretrain'])
def test_registered_once_at_the_root(library):
    pytest.importorskip(library)
    registry = __import__(f'{library}.registry', fromlist=['MODELS']).MODELS
    assert registry.get('RapidNet') is RapidNet
    assert MODELS.get('RapidNet') is RapidNet
    assert isinstance(registry.build(dict(type='RapidNet', arch='ti')), RapidNet)


def test_import_needs_no_task_library():
    """Neither to import nor to build; and it mends nothing by itself."""
    code = (
        'import sys, torch, mmrapidnet, mmengine.runner.checkpoint as c\n'
        'mmrapidnet.models.RapidNet(arch="ti")\n'
        'heavy = {"mmdet", "mmseg", "mmpretrain", "timm", "torchvision"}\n'
        'assert not heavy & set(sys.modules), heavy & set(sys.modules)\n'
        'assert c.torch is torch\n'
        'assert "mmrapidnet.compat" not in sys.modules\n'
    )
    done = subprocess.run(
        [sys.executable, '-c', code], cwd=REPO, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
