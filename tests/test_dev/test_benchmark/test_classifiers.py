"""Classifiers by name, fused or not, in the runtimes that are here."""

import sys

import pytest
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from dev.benchmark import peers, runtimes
from dev.benchmark.cases import list_classifiers
from dev.benchmark.runtimes import RUNTIMES, find_runtime
from mmrapidnet.utils.errors import UserError


class Odd(nn.Module):
    """Pairs of convolution and normalisation that no Sequential tells."""

    def __init__(self, leak: bool):
        super().__init__()
        from timm.layers import BatchNormAct2d

        self.leak = leak
        self.norm = BatchNormAct2d(6)
        self.other = nn.BatchNorm2d(6)
        self.first = nn.Conv2d(3, 6, 3, bias=False)
        self.second = nn.Conv2d(6, 6, 3, groups=6)

    def forward(self, x):
        x = self.first(x)
        y = self.norm(x)
        if self.leak:
            return y + x
        # The last one normalises a sum, which is no convolution's output.
        return self.other(self.second(y) + 1)


def test_pairs_are_found_by_running():
    model = peers.randomize_norms(Odd(leak=False)).double().eval()
    image = torch.randn(2, 3, 9, 11, dtype=torch.float64)
    fused = peers.fuse_model(model, image)
    assert isinstance(fused.norm, nn.ReLU)
    assert isinstance(fused.other, nn.BatchNorm2d)
    torch.testing.assert_close(fused(image), model(image), rtol=1e-9, atol=1e-9)
    assert isinstance(model.norm, nn.BatchNorm2d)


def test_what_cannot_be_fused_is_not():
    model = peers.randomize_norms(Odd(leak=True)).eval()
    with pytest.raises(UserError, match='Odd cannot be fused: the outputs differ by'):
        peers.fuse_model(model, torch.randn(1, 3, 9, 9))


@pytest.mark.parametrize(
    ('name', 'params'),
    [
        ('mobilenetv2_x1_4', 6_108_776),
        ('timm:repvit_m0_9', 5_489_328),
        ('mmpretrain:resnet18_8xb32_in1k', 11_689_512),
    ],
)
def test_peers(name, params):
    model = peers.build_model(name)
    assert not model.training
    assert sum(p.numel() for p in model.parameters()) == params
    image = torch.randn(1, 3, 32, 32)
    fused = peers.fuse_model(model, image)
    assert not any(isinstance(module, _BatchNorm) for module in fused.modules())
    expected = model(image)
    assert (fused(image) - expected).abs().max() < 1e-4 * expected.abs().max()


@pytest.mark.parametrize(
    ('name', 'message'),
    [
        ('rapidnet_xl', "unknown model 'rapidnet_xl': choose one of rapidnet_ti, "),
        ('timm:fastvit_t9', "no model 'fastvit_t9': did you mean .*fastvit_t8"),
        ('mmpretrain:nonsense', "mmpretrain has no model 'nonsense'"),
    ],
)
def test_unknown_models(name, message):
    with pytest.raises(UserError, match=message):
        peers.build_model(name)


def test_runtimes():
    assert find_runtime('eager').name == 'eager'
    compiled = RUNTIMES['compile']
    assert compiled.fused and compiled.channels_last and compiled.compiled
    assert RUNTIMES['openvino-int8'].precision == 'int8'
    assert {r.format for r in RUNTIMES.values()} == {None, 'onnx', 'openvino', 'ncnn'}


def test_runtimes_that_are_not_here(monkeypatch, capsys):
    monkeypatch.setattr(runtimes, 'has_bf16', lambda device: False)
    monkeypatch.setitem(sys.modules, 'onnxruntime', None)
    monkeypatch.delitem(sys.modules, 'mmrapidnet.deploy.formats.onnx', raising=False)
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    monkeypatch.setenv('CXX', 'no-such-compiler')
    monkeypatch.setattr(runtimes.shutil, 'which', lambda name: None)
    for name, message in (
        ('tensorrt', "unknown runtime 'tensorrt': choose some of eager, "),
        ('fused-bf16', 'needs bf16 instructions'),
        ('eager-fp16', 'eager-fp16 needs a GPU'),
        ('compile', 'needs a C\\+\\+ compiler'),
        ('onnxruntime', 'needs onnxruntime, which is not .*"mmrapidnet\\[onnx\\]"'),
    ):
        with pytest.raises(UserError, match=message):
            find_runtime(name)
    with pytest.raises(UserError, match='openvino runs on the CPU here'):
        find_runtime('openvino', 'cuda')
    assert runtimes.available_runtimes(['eager', 'compile', 'fused']) == [
        'eager',
        'fused',
    ]
    assert 'left out: compile needs' in capsys.readouterr().out


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (dict(models=('repvit_m0_6',) * 2), '--models .*: give each once'),
        (dict(runtimes=('fused', 'fused')), '--runtimes .*: give each once'),
        (dict(sizes=(0,)), '--sizes 0: give at least 1'),
        (dict(batches=(1, -1)), '--batches -1: give at least 1'),
        (dict(threads=0), '--threads 0: give at least 1'),
        (dict(runtimes=('swift',)), "unknown runtime 'swift'"),
    ],
)
def test_wrong_requests(changes, message):
    request = dict(
        models=('repvit_m0_6',), runtimes=('eager',), sizes=(32,), batches=(1,)
    )
    request |= dict(device='cpu', threads=1, folder='nowhere', **{})
    with pytest.raises(UserError, match=message):
        list_classifiers(**{**request, **changes})


def test_classifiers_compute_the_same_in_every_runtime(tmp_path):
    names = ('eager', 'channels_last', 'fused-channels_last', 'onnxruntime')
    cases = list_classifiers(
        ('repvit_m0_6',), names, (32,), (2,), 'cpu', 1, str(tmp_path)
    )
    assert [case.runtime.name for case in cases] == [*names]
    expected, *others = (torch.as_tensor(c.open()()) for c in cases)
    assert expected.shape == (2, 1000)
    for logits in others:
        assert (logits - expected).abs().max() < 1e-4 * expected.abs().max()
    assert [path.name for path in tmp_path.iterdir()] == ['repvit_m0_6_fp32_32x32.onnx']
