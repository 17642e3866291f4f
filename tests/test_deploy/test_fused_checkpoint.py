"""Checkpoints of fused models: written, told apart, loaded, refused for training."""

import sys

import pytest
import torch
from helpers.commands import assert_one_line_error
from helpers.tiny_models import build_model, write_config
from helpers.tool_server import fork_tool

from mmrapidnet.apis.train import read_start
from mmrapidnet.checkpoints import load_pretrained
from mmrapidnet.checkpoints.fused import RECORD
from mmrapidnet.checkpoints.save import sha256_of
from mmrapidnet.checkpoints.state_dict import read_checkpoint
from mmrapidnet.config.load import load_config
from mmrapidnet.deploy import fuse, is_fused
from mmrapidnet.deploy.fused_checkpoint import fuse_checkpoint
from mmrapidnet.deploy.loading import load_model
from mmrapidnet.utils.errors import UserError

LABELS = dict(classes=['a', 'b'], palette=[[0, 0, 0], [1, 2, 3]])


@pytest.fixture(scope='module')
def config(tmp_path_factory):
    return str(write_config('segmenter', tmp_path_factory.mktemp('configs')))


@pytest.fixture(scope='module')
def trained(config, tmp_path_factory):
    """The model, and its checkpoint as mmengine writes one."""
    cfg = load_config(config)
    model = build_model(cfg)
    path = tmp_path_factory.mktemp('trained') / 'iter_2.pth'
    meta = dict(cfg=cfg.pretty_text, dataset_meta=LABELS, iter=2)
    optimizer = dict(state={}, param_groups=[])
    torch.save(
        dict(state_dict=model.state_dict(), meta=meta, optimizer=optimizer), path
    )
    return model, path


def predict(model) -> torch.Tensor:
    image = torch.randn(1, 3, 70, 90, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        return model(image)


def load(config, path):
    return load_model(load_config(config), read_checkpoint(str(path)), str(path))


def test_the_tool(trained, config, tmp_path):
    model, path = trained
    out = tmp_path / 'fused.pth'
    process = fork_tool('fuse.py', path, out, '--config', config)
    assert process.returncode == 0, process.stderr
    before, after = len(model.state_dict()), len(fuse(model).state_dict())
    assert f'iter_2.pth: {before} tensors fused into {after}' in process.stdout
    assert f'written to {out}' in process.stdout
    assert is_fused(load(config, out))
    done = fork_tool('fuse.py', out, tmp_path / 'again.pth')
    assert_one_line_error(done, f'{out}: give the config of its model with --config')


@pytest.mark.parametrize('name', ['fused.pth', 'fused.safetensors'])
def test_a_fused_checkpoint(trained, config, tmp_path, name):
    model, path = trained
    out = tmp_path / name
    fuse_checkpoint(path, out, config)
    content = read_checkpoint(str(out))
    assert set(content) == {'state_dict', 'meta'}
    assert content['meta']['dataset_meta'] == LABELS
    record = content['meta'][RECORD]
    assert (record['source'], record['sha256']) == ('iter_2.pth', sha256_of(path))
    loaded = load(config, out)
    assert is_fused(loaded)
    torch.testing.assert_close(predict(loaded), predict(model), rtol=1e-4, atol=1e-4)
    with pytest.raises(UserError, match='is fused already'):
        fuse_checkpoint(out, tmp_path / 'again.pth', config)


def test_an_unfused_one_loads_as_it_is(trained, config):
    model, path = trained
    loaded = load(config, path)
    assert not is_fused(loaded)
    assert torch.equal(predict(loaded), predict(model))


def test_training_does_not_start_from_one(trained, config, tmp_path):
    model, path = trained
    out = str(tmp_path / 'fused.pth')
    fuse_checkpoint(path, out, config)
    expected = 'is fused, for evaluation only: start from .* made from, iter_2.pth'
    with pytest.raises(UserError, match=expected):
        load_pretrained(model.backbone, out)
    cfg = load_config(config)
    for options in (dict(load_from=out), dict(load_from=out, resume=True)):
        cfg.merge_from_dict(options)
        with pytest.raises(UserError, match=expected):
            read_start(cfg)


def test_what_cannot_be_fused(trained, config, tmp_path):
    model, _ = trained
    bare = tmp_path / 'bare.pth'
    torch.save(model.state_dict(), bare)
    out = tmp_path / 'out.pth'
    fuse_checkpoint(bare, out, config)
    with pytest.raises(UserError, match='does not fit|matches nothing'):
        fuse_checkpoint(bare, out, str(write_config('detector', tmp_path)))
    with pytest.raises(UserError, match='is the file that is read: give another name'):
        fuse_checkpoint(bare, bare, config)
    with pytest.raises(UserError, match='is a folder: give the name of the file'):
        fuse_checkpoint(bare, tmp_path, config)
    assert not list(tmp_path.glob('.*'))


@pytest.mark.parametrize(
    'stored',
    [
        "__import__('os').system('touch canary')",
        "model = dict(type='subprocess.Popen', args=['touch', 'canary'])",
        "custom_imports = dict(imports=['antigravity'])",
        'model = 3',
    ],
)
def test_the_config_in_the_checkpoint_plays_no_part(
    trained, config, tmp_path, monkeypatch, stored
):
    monkeypatch.chdir(tmp_path)
    model, _ = trained
    torch.save(dict(state_dict=model.state_dict(), meta=dict(cfg=stored)), 'odd.pth')
    fuse_checkpoint('odd.pth', 'out.pth', config)
    written, expected = read_checkpoint('out.pth')['state_dict'], fuse(model)
    assert written.keys() == expected.state_dict().keys()
    assert all(torch.equal(written[k], v) for k, v in expected.state_dict().items())
    assert sorted(file.name for file in tmp_path.iterdir()) == ['odd.pth', 'out.pth']
    assert 'antigravity' not in sys.modules
