"""Pretrained weights are really loaded, or it is an error."""

import logging
from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.model import BaseModule, PretrainedInit
from mmengine.runner.checkpoint import load_state_dict
from torch import nn

from mmrapidnet.apis import train
from mmrapidnet.checkpoints.state_dict import check_start, shorten
from mmrapidnet.models import RapidNet
from mmrapidnet.utils.errors import UserError

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


class Foreign(BaseModule):
    """A backbone that is not of this project, with layers that no file has."""

    def __init__(self, channels=4, new=False, init_cfg=None):
        super().__init__(init_cfg)
        self.layers = nn.Sequential(
            nn.Conv2d(3, channels, 1), nn.BatchNorm2d(channels), nn.ReLU()
        )
        if new:
            self.offset = nn.Conv2d(channels, 2, 1)


def foreign_state(channels=4, prefix='', counters=True):
    torch.manual_seed(5)
    return {
        prefix + name: torch.rand(value.shape) + 2
        for name, value in Foreign(channels).state_dict().items()
        if counters or 'num_batches' not in name
    }


@pytest.mark.parametrize('prefix', ['', 'backbone.', 'module.backbone.', 'net.'])
@pytest.mark.parametrize('counters', [True, False])
def test_a_backbone_of_others_is_filled(prefix, counters, tmp_path):
    """Also without the prefix that mmpretrain's files have."""
    torch.save({'state_dict': foreign_state(4, prefix, counters)}, tmp_path / 'w.pth')
    init = dict(type='Pretrained', checkpoint=str(tmp_path / 'w.pth'))
    if prefix == 'net.':
        init['prefix'] = 'net'
    model = Foreign(init_cfg=init)
    model.init_weights()
    for name, value in foreign_state(4, '', counters=False).items():
        if counters:
            value = foreign_state(4)[name]
        assert torch.equal(model.state_dict()[name], value), name


def test_layers_that_no_file_has_are_said(tmp_path, logged):
    torch.save(foreign_state(), tmp_path / 'w.pth')
    init = dict(type='Pretrained', checkpoint=str(tmp_path / 'w.pth'))
    model = Foreign(new=True, init_cfg=init)
    model.init_weights()
    assert torch.equal(model.layers[0].weight.data, foreign_state()['layers.0.weight'])
    assert (
        f'{tmp_path / "w.pth"} lacks 2 tensors of Foreign, which start as they are '
        'initialised: offset.weight, offset.bias'
    ) in logged


@pytest.mark.parametrize(
    ('state', 'message'),
    [
        (dict(a=torch.zeros(1)), r'w.pth matches nothing of Foreign: it holds a, but'),
        (foreign_state(prefix='net.'), r'w.pth matches nothing of Foreign'),
        (foreign_state(channels=8), r'w.pth does not fit Foreign; other shapes 6'),
        (
            {k: v for k, v in foreign_state().items() if 'layers.0' in k},
            r'w.pth does not fit Foreign; missing 4: layers.1.weight',
        ),
    ],
)
def test_a_backbone_of_others_that_is_not_filled(state, message, tmp_path):
    torch.save(state, tmp_path / 'w.pth')
    model = Foreign(
        init_cfg=dict(type='Pretrained', checkpoint=str(tmp_path / 'w.pth'))
    )
    with pytest.raises(UserError, match=message):
        model.init_weights()


class ByItself(Foreign):
    """A backbone that reads its file without `PretrainedInit`, as Swin does."""

    def __init__(self, load, init_cfg):
        super().__init__(init_cfg=init_cfg)
        self.load = load

    def init_weights(self):
        state = torch.load(self.init_cfg['checkpoint'])['state_dict']
        self.load(self, {k.removeprefix('old.'): v for k, v in state.items()}, False)


@pytest.mark.parametrize('load', [nn.Module.load_state_dict, load_state_dict])
def test_a_backbone_that_loads_by_itself(load, tmp_path):
    """Within a model; the names are those that it has converted."""
    path = tmp_path / 'w.pth'
    init = dict(type='Pretrained', checkpoint=str(path))

    def initialise(state):
        torch.save(dict(state_dict=state), path)
        model = BaseModule()
        model.backbone = ByItself(load, init)
        model.init_weights()
        return model.backbone.state_dict()

    loaded = initialise(foreign_state(prefix='old.', counters=False))
    for name, value in foreign_state(counters=False).items():
        assert torch.equal(loaded[name], value), name
    with pytest.raises(UserError, match='w.pth matches nothing of ByItself: it holds'):
        initialise(foreign_state(prefix='net.'))


class Whole(nn.Module):
    """A backbone with a head of some classes."""

    def __init__(self, backbone, classes=2):
        super().__init__()
        self.backbone = backbone
        self.head = nn.Linear(4, classes)


@pytest.mark.parametrize('make', [lambda: RapidNet(arch=TINY), Foreign])
def test_what_training_starts_from(make):
    """Another head is fine, another backbone or none is not, nor are bare weights."""
    state = Whole(make()).state_dict()
    name = type(make()).__name__
    check_start(Whole(make()), dict(state_dict=state), 'w.pth')
    check_start(Whole(make(), classes=7), state, 'w.pth')
    head = {k: v for k, v in state.items() if k.startswith('head')}
    with pytest.raises(UserError, match=f'w.pth matches nothing of {name}: it holds h'):
        check_start(Whole(make()), head, 'w.pth')
    with pytest.raises(UserError, match='w.pth holds a bare backbone, .* --pretrained'):
        check_start(Whole(make()), make().state_dict(), 'w.pth')
    half = {k: v for k, v in state.items() if 'bias' not in k}
    half = {k: v for k, v in half.items() if k.startswith('backbone')}
    if make is Foreign:
        check_start(Whole(make()), half, 'w.pth')
    else:
        with pytest.raises(UserError, match='w.pth does not fit RapidNet; missing '):
            check_start(Whole(make()), half, 'w.pth')
    with pytest.raises(UserError, match='matches nothing of Linear'):
        check_start(nn.Linear(2, 2), state, 'w.pth')


def test_training_does_not_start_from_nothing(source, tmp_path, monkeypatch):
    """The file that --pretrained refuses is refused as load_from, too."""
    path = tmp_path / 'w.pth'
    torch.save({'state_dict': {'net.' + k: v for k, v in source.items()}}, path)
    runner = SimpleNamespace(model=Whole(RapidNet(arch=TINY)))
    monkeypatch.setattr(train, 'build_runner', lambda cfg: runner)
    with pytest.raises(UserError, match='w.pth matches nothing of RapidNet'):
        train._prepare(Config(dict(load_from=str(path))))
    torch.save({'backbone.' + k: v for k, v in source.items()}, path)
    assert train._prepare(Config(dict(load_from=str(path)))) is runner


def test_missing_file(tmp_path):
    with pytest.raises(UserError, match='gone.pth does not exist'):
        initialised(tmp_path / 'gone.pth')


def test_shorten():
    assert shorten(['a', 'b']) == 'a, b'
    assert shorten(str(i) for i in range(9)) == '0, 1, 2, ...'
