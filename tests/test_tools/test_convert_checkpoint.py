"""The command line that converts published checkpoints."""

import json
import runpy
import sys
from types import SimpleNamespace

import pytest
import torch
from helpers import tiny_models
from helpers.commands import REPO, assert_one_line_error, find_script
from helpers.published import KEY_MAPS, thin_state
from helpers.tool_server import fork_tool
from mmengine.registry import MODELS, DefaultScope

from mmrapidnet.config.load import load_config
from mmrapidnet.datasets.shapes import SEG_CLASSES

RECIPE = 'configs/semfpn_rapidnet_ti_ade20k.py'


@pytest.fixture
def published(tmp_path):
    """A training checkpoint of a thin RapidNet-Ti."""
    path = tmp_path / 'RapidNet_Ti.pth'
    state = thin_state('rapidnet_ti')
    ema = {name: value + 1 for name, value in state.items()}
    torch.save({'state_dict': state, 'state_dict_ema': ema, 'epoch': 299}, path)
    return path


@pytest.fixture
def convert(thin_archs, monkeypatch, capsys):
    """Calls the tool in this process, where archs are thin."""

    def call(*arguments):
        script = str(find_script('convert_checkpoint.py'))
        monkeypatch.setattr(sys, 'argv', [script, *map(str, arguments)])
        status = 0
        try:
            runpy.run_path(script, run_name='__main__')
        except SystemExit as error:
            status = error.code
        out, err = capsys.readouterr()
        return SimpleNamespace(returncode=status, stdout=out, stderr=err)

    return call


@pytest.mark.parametrize(
    ('options', 'entry', 'other', 'shift'),
    [
        ((), 'state_dict_ema', 'state_dict', 1),
        (('--no-ema', '--model', 'rapidnet_ti'), 'state_dict', 'state_dict_ema', 0),
    ],
)
def test_converts(options, entry, other, shift, published, convert, tmp_path):
    dst = tmp_path / 'rapidnet_ti.pth'
    done = convert(published, dst, *options)
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
    theirs = thin_state('rapidnet_ti')['stem.stem.0.weight']
    assert torch.equal(ours, theirs + shift)
    assert content['meta']['mmrapidnet_conversion']['weights'] == entry


def test_errors(published, convert, tmp_path):
    dst = tmp_path / 'ours.pth'
    done = convert(published, dst, '--model', 'rapidnet_s')
    assert_one_line_error(done, 'does not fit rapidnet_s: missing')
    done = convert(tmp_path / 'gone.pth', dst)
    assert_one_line_error(done, 'gone.pth does not exist')
    assert not dst.exists()


def test_training_asks_for_conversion(published, shapes_root, tmp_path):
    config = tiny_models.write_config('segmenter', tmp_path)
    command = f'`python tools/convert_checkpoint.py {published} RapidNet_Ti_converted'
    where = ('--data-root', shapes_root / 'ade', '--work-dir', tmp_path / 'run')
    done = fork_tool('train.py', config, *where, '--pretrained', published)
    assert_one_line_error(done, 'RapidNet_Ti.pth is a RapidNet class', command)


def test_a_converted_segmenter_is_tested(shapes_root, tmp_path):
    """From a file in mmseg 0.x names to a measured mIoU."""
    pytest.importorskip('safetensors')
    cfg = load_config(str(REPO / RECIPE))
    cfg.model.decode_head.num_classes = len(SEG_CLASSES)
    with DefaultScope.overwrite_default_scope('mmseg'):
        ours = MODELS.build(cfg.model).state_dict()
    names = KEY_MAPS['rapidnet'].published_keys(ours, 'backbone.')
    src, dst = tmp_path / 'published.pth', tmp_path / 'ours.safetensors'
    torch.save({'state_dict': {names[k]: v for k, v in ours.items()}, 'meta': {}}, src)
    done = fork_tool('convert_checkpoint.py', src, dst)
    assert done.returncode == 0, done.stderr
    assert 'Semantic FPN (mmseg 0.x) checkpoint with RapidNet' in done.stdout

    where = ('--shapes', shapes_root, '--work-dir', tmp_path / 'run')
    two = ('--cfg-options', 'test_dataloader.dataset.indices=2')
    done = fork_tool('test.py', RECIPE, dst, *where, *two)
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / 'run' / 'metrics.json').read_text())
    assert 0 <= results['metrics']['mIoU'] <= 100
    assert results['checkpoint'] == str(dst)
