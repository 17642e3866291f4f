"""The command line that converts published checkpoints."""

import json

import pytest
import torch
from helpers import golden
from helpers.commands import REPO, assert_one_line_error, run_tool
from helpers.tool_server import fork_tool
from mmengine.registry import MODELS, DefaultScope

from mmrapidnet.checkpoints.convert.key_maps import AUTHORS, published_keys
from mmrapidnet.config.load import load_config
from mmrapidnet.datasets.shapes import SEG_CLASSES

SEG = 'configs/semfpn_rapidnet_ti_shapes.py'
RECIPE = 'configs/semfpn_rapidnet_ti_ade20k.py'


@pytest.fixture(scope='module')
def state():
    """A published state dict of RapidNet-Ti."""
    backbone = MODELS.build(dict(type='RapidNet', arch='ti'))
    top = dict(type='DistilledClassifier', in_channels=224, hidden_channels=512)
    top = MODELS.build(dict(**top, num_classes=10))
    ours = backbone.state_dict(prefix='backbone.')
    ours = {**ours, **top.state_dict(prefix='head.classifier.')}
    return {
        theirs: golden.parameter(theirs, tuple(ours[name].shape))
        for name, theirs in published_keys('rapidnet_ti', ours).items()
    }


@pytest.fixture
def published(state, tmp_path):
    path = tmp_path / 'RapidNet_Ti.pth'
    ema = {name: value + 1 for name, value in state.items()}
    torch.save({'state_dict': state, 'state_dict_ema': ema, 'epoch': 299}, path)
    return path


@pytest.mark.parametrize(
    ('options', 'entry', 'other', 'shift'),
    [
        ((), 'state_dict_ema', 'state_dict', 1),
        (('--no-ema', '--model', 'rapidnet_ti'), 'state_dict', 'state_dict_ema', 0),
    ],
)
def test_converts(options, entry, other, shift, published, state, tmp_path):
    dst = tmp_path / 'rapidnet_ti.pth'
    done = run_tool('convert_checkpoint.py', published, dst, *options)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-4:] == [
        'RapidNet_Ti.pth is a RapidNet classification checkpoint; weights taken from '
        f'{entry}',
        'model: rapidnet_ti',
        f'matched 518 of 518 tensors; dropped 2 other entries of the file: {other}, '
        'epoch',
        f'written to {dst}',
    ]
    content = torch.load(dst, weights_only=True)
    ours = content['state_dict']['backbone.stem.0.conv.weight']
    assert torch.equal(ours, state['stem.stem.0.weight'] + shift)
    assert content['meta']['mmrapidnet_conversion']['weights'] == entry


def test_errors(published, tmp_path):
    tool, dst = 'convert_checkpoint.py', tmp_path / 'ours.pth'
    done = fork_tool(tool, published, dst, '--model', 'rapidnet_s')
    assert_one_line_error(done, 'does not fit rapidnet_s: missing')
    done = fork_tool(tool, tmp_path / 'gone.pth', dst)
    assert_one_line_error(done, 'gone.pth does not exist')
    assert not dst.exists()


def test_what_trains_and_tests_asks_for_conversion(published, shapes_root, tmp_path):
    command = f'`python tools/convert_checkpoint.py {published} RapidNet_Ti_converted'
    where = ('--data-root', shapes_root / 'ade', '--work-dir', tmp_path / 'run')
    done = fork_tool('train.py', SEG, *where, '--pretrained', published)
    assert_one_line_error(done, 'RapidNet_Ti.pth is a RapidNet class', command)
    done = fork_tool('test.py', SEG, published, *where)
    assert_one_line_error(done, 'RapidNet_Ti.pth is a RapidNet class', command)


@pytest.mark.parametrize('suffix', ['pth', 'safetensors'])
def test_a_converted_segmenter_is_tested(suffix, shapes_root, tmp_path):
    """From a file in mmseg 0.x names to a measured mIoU."""
    pytest.importorskip('safetensors')
    cfg = load_config(str(REPO / RECIPE))
    cfg.model.decode_head.num_classes = len(SEG_CLASSES)
    with DefaultScope.overwrite_default_scope('mmseg'):
        ours = MODELS.build(cfg.model).state_dict()
    (layout,) = (layout for layout in AUTHORS if layout.family == 'rapidnet')
    names = layout.published_keys(ours, 'backbone.')
    src, dst = tmp_path / 'published.pth', tmp_path / f'ours.{suffix}'
    torch.save({'state_dict': {names[k]: v for k, v in ours.items()}, 'meta': {}}, src)
    done = fork_tool('convert_checkpoint.py', src, dst)
    assert done.returncode == 0, done.stderr
    assert 'Semantic FPN (mmseg 0.x) checkpoint with RapidNet' in done.stdout

    where = ('--shapes', shapes_root, '--work-dir', tmp_path / 'run')
    done = fork_tool('test.py', RECIPE, dst, *where)
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / 'run' / 'metrics.json').read_text())
    assert 0 <= results['metrics']['mIoU'] <= 100
    assert results['checkpoint'] == str(dst)
