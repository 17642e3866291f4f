"""Pretrained weights are really loaded, or it is an error."""

import logging

import pytest
import torch
from mmengine.logging import MMLogger
from mmengine.model import PretrainedInit

from mmrapidnet.checkpoints.pretrained import shorten
from mmrapidnet.errors import UserError
from mmrapidnet.models import RapidNet

TINY = dict(
    channels=(4, 6, 8, 10), local_blocks=(1, 1, 1, 1), global_blocks=(0, 0, 0, 1)
)


@pytest.fixture
def source():
    torch.manual_seed(1)
    model = RapidNet(arch=TINY)
    for value in model.state_dict().values():
        value.copy_(torch.rand(value.shape) * 5)
    return model.state_dict()


@pytest.fixture
def logged(request):
    """What mmengine's current logger says, made anew.

    One with a file, as a run of another test leaves it, is told less of initialisation.
    """
    lines = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())
    name = request.node.name
    MMLogger.get_instance(name).addHandler(handler)
    yield lines
    MMLogger._instance_dict.pop(name)


def initialised(path, **kwargs) -> RapidNet:
    pretrained = dict(type='Pretrained', checkpoint=str(path))
    model = RapidNet(
        arch=kwargs.pop('arch', TINY),
        init_cfg={**pretrained, **kwargs.pop('init', {})},
        **kwargs,
    )
    model.init_weights()
    return model


@pytest.mark.parametrize(
    ('wrap', 'init'),
    [
        (lambda state: state, {}),
        (lambda state: {'state_dict': state}, {}),
        (lambda state: {f'backbone.{k}': v for k, v in state.items()}, {}),
        (lambda state: {f'module.backbone.{k}': v for k, v in state.items()}, {}),
        (lambda state: {f'net.{k}': v for k, v in state.items()}, {'prefix': 'net'}),
    ],
)
def test_every_tensor_is_loaded(source, tmp_path, wrap, init, logged):
    torch.save(wrap(source), tmp_path / 'w.pth')
    model = initialised(tmp_path / 'w.pth', init=init)
    for name, value in model.state_dict().items():
        assert torch.equal(value, source[name]), name
    account = [line for line in logged if line.startswith('RapidNet: matched')]
    count = len(source)
    assert account == [
        f'RapidNet: matched {count} of {count} tensors with {tmp_path / "w.pth"}; '
        'dropped 0 others of the file'
    ]


def test_what_is_dropped_is_named(source, tmp_path, logged):
    extra = {'head.fc.weight': torch.zeros(2), 'head.fc.bias': torch.zeros(2)}
    torch.save({'state_dict': {**source, **extra}}, tmp_path / 'w.pth')
    initialised(tmp_path / 'w.pth')
    assert any(
        'dropped 2 others of the file: head.fc.bias, head.fc.we' in m for m in logged
    )


def test_stages_that_are_not_built_are_dropped(source, tmp_path):
    torch.save(source, tmp_path / 'w.pth')
    model = initialised(tmp_path / 'w.pth', out_indices=(0, 1))
    assert len(model.stages) == 2
    assert torch.equal(model.stages[1][0].conv.weight, source['stages.1.0.conv.weight'])


def test_pretrained_comes_after_other_initialisers(source, tmp_path):
    torch.save(source, tmp_path / 'w.pth')
    model = RapidNet(
        arch=TINY,
        init_cfg=[
            dict(type='Pretrained', checkpoint=str(tmp_path / 'w.pth')),
            dict(type='Constant', layer='Conv2d', val=7),
        ],
    )
    model.init_weights()
    assert torch.equal(model.stem[0].conv.weight, source['stem.0.conv.weight'])
    # A second call, as a detector's own init_weights makes, changes nothing.
    model.stem[0].conv.weight.data.zero_()
    model.init_weights()
    assert model.stem[0].conv.weight.abs().max() == 0


def test_nothing_is_read_in_the_constructor():
    RapidNet(arch=TINY, init_cfg=dict(type='Pretrained', checkpoint='nowhere.pth'))


def test_a_whole_model_initialises_its_backbone(source, tmp_path, logged):
    pytest.importorskip('mmseg')
    from mmengine.registry import init_default_scope
    from mmseg.registry import MODELS

    init_default_scope('mmseg')
    torch.save({'state_dict': source}, tmp_path / 'w.pth')
    model = MODELS.build(
        dict(
            type='EncoderDecoder',
            backbone=dict(
                type='RapidNet',
                arch=TINY,
                init_cfg=dict(type='Pretrained', checkpoint=str(tmp_path / 'w.pth')),
            ),
            decode_head=dict(type='FCNHead', in_channels=10, channels=4, num_classes=2),
        )
    )
    model.init_weights()
    for name, value in model.backbone.state_dict().items():
        assert torch.equal(value, source[name]), name
    report = [line for line in logged if 'backbone.stem.0.conv.weight' in line]
    assert 'Pretrained: loaded from' in report[-1]


def test_initialiser_given_as_a_class(source, tmp_path):
    """As configs in pure Python have it."""
    torch.save(source, tmp_path / 'w.pth')
    model = initialised(tmp_path / 'w.pth', init={'type': PretrainedInit})
    assert torch.equal(model.stem[0].conv.weight, source['stem.0.conv.weight'])


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (
            lambda state: {'a.b': torch.zeros(1), 'c': torch.zeros(1)},
            r'w.pth matches nothing of RapidNet: it holds a.b, c, but stem.0.conv',
        ),
        (
            lambda state: {k: v for k, v in state.items() if 'stem' not in k},
            r'w.pth does not fit RapidNet; missing 14: stem.0.conv.weight, .*\.\.\.',
        ),
        (
            lambda state: {**state, 'stem.0.norm.bias': torch.zeros(7)},
            r'other shapes 1: stem.0.norm.bias \(7,\) instead of \(2,\)',
        ),
        (lambda state: {'epoch': 3}, r'w.pth holds no weights: .* found epoch'),
        (lambda state: {}, r'w.pth holds no weights: .* found nothing'),
    ],
)
def test_incomplete_files(source, tmp_path, change, message):
    torch.save(change(source), tmp_path / 'w.pth')
    with pytest.raises(UserError, match=message):
        initialised(tmp_path / 'w.pth')


def test_weights_of_another_arch(tmp_path):
    torch.save(RapidNet(arch='ti').state_dict(), tmp_path / 'w.pth')
    with pytest.raises(UserError, match=r'does not fit RapidNet; missing .*same arch'):
        initialised(tmp_path / 'w.pth', arch='s')


def test_missing_file(tmp_path):
    with pytest.raises(UserError, match='gone.pth does not exist'):
        initialised(tmp_path / 'gone.pth')


def test_shorten():
    assert shorten(['a', 'b']) == 'a, b'
    assert shorten(str(i) for i in range(9)) == '0, 1, 2, ...'
