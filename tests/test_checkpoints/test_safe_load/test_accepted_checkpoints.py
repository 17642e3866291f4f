"""Checkpoints of libraries and published repositories load, with all they hold."""

import argparse
import io

import numpy as np
import pytest
import torch
from helpers import accepted_files, tiny_models, tiny_pretraining
from helpers.accepted_files import ACCEPTED
from helpers.commands import run_tool
from mmengine.logging import HistoryBuffer

from mmrapidnet.checkpoints.safe_load import load as safe_load

OLD = ('mmengine', 'mmdet 2.x', 'MobileViG', 'torchvision, bare')


def assert_same(ours, theirs):
    """Values and types are the same, all the way down."""
    assert type(ours) is type(theirs)
    if isinstance(ours, dict):
        assert list(ours) == list(theirs)
        for key in ours:
            assert_same(ours[key], theirs[key])
    elif isinstance(ours, (list, tuple)):
        assert len(ours) == len(theirs)
        for pair in zip(ours, theirs, strict=True):
            assert_same(*pair)
    elif isinstance(ours, torch.Tensor):
        assert ours.dtype == theirs.dtype
        assert ours.stride() == theirs.stride()
        assert torch.equal(ours, theirs)
    elif isinstance(ours, argparse.Namespace):
        assert_same(vars(ours), vars(theirs))
    elif isinstance(ours, HistoryBuffer):
        assert ours.max_length == theirs.max_length
        for pair in zip(ours.data, theirs.data, strict=True):
            assert np.array_equal(*pair)
    elif isinstance(ours, np.ndarray):
        assert ours.dtype == theirs.dtype
        assert np.array_equal(ours, theirs)
    else:
        assert ours == theirs


@pytest.mark.usefixtures('either_way')
@pytest.mark.parametrize('name', ACCEPTED)
def test_a_checkpoint_loads_with_all_it_holds(tmp_path, name):
    content = ACCEPTED[name]()
    path = tmp_path / 'accepted.pth'
    torch.save(content, path)
    loaded = safe_load.load(path)
    stock = torch.load(path, weights_only=False)
    # A text that is more than literals is no config any more.
    if 'config' in (loaded.get('meta') or {}):
        assert loaded['meta'].pop('config') == ''
        stock['meta'].pop('config')
    for versions in ('state_dict', 'model'):
        if hasattr(stock.get(versions), '_metadata'):
            assert_same(loaded[versions]._metadata, stock[versions]._metadata)
    assert_same_but_for_buffers(loaded, stock)


def assert_same_but_for_buffers(loaded, stock):
    """The type of a loaded array is NumPy's own where anything is computed."""
    meta = loaded.get('meta') or {}
    sigmas = (meta.get('dataset_meta') or {}).get('sigmas')
    if sigmas is not None:
        meta['dataset_meta']['sigmas'] = sigmas.view(np.ndarray)
    assert_same(loaded, stock)


@pytest.mark.usefixtures('either_way')
@pytest.mark.parametrize('name', OLD)
def test_the_format_before_torch_1_6_loads(tmp_path, name):
    path = tmp_path / 'old.pth'
    path.write_bytes(accepted_files.old_format(name))
    loaded = safe_load.load(path)
    stock = torch.load(io.BytesIO(path.read_bytes()), weights_only=False)
    if 'config' in (loaded.get('meta') or {}):
        assert loaded['meta'].pop('config') == ''
        stock['meta'].pop('config')
    assert_same(loaded, stock)


def test_safetensors_load(tmp_path):
    path = tmp_path / 'x.safetensors'
    path.write_bytes(accepted_files.as_safetensors())
    loaded = safe_load.load(path)
    state, weights = loaded['state_dict'], accepted_files.weights()
    assert_same(dict(sorted(state.items())), dict(sorted(weights.items())))
    assert loaded['meta'] == {'mmrapidnet_conversion': {'kind': 'x'}}


def test_the_table_is_long():
    assert len(ACCEPTED) + len(OLD) >= 30


@pytest.mark.slow
@pytest.mark.parametrize('kind', ['segmenter', 'detector', 'classifier'])
def test_what_each_library_writes_is_resumed(kind, shapes_root, tmp_path, monkeypatch):
    if kind == 'classifier':
        config = tiny_pretraining.write_config(tmp_path, epochs=1)
        root = tiny_pretraining.write_images(tmp_path / 'images', 'folders')
        options = ['model.head.distillation=none']
        name, longer = 'epoch_1.pth', 'train_cfg.max_epochs=2'
    else:
        config = tiny_models.write_config(kind, tmp_path)
        root = shapes_root / ('ade' if kind == 'segmenter' else 'coco')
        options = [
            'train_cfg.max_iters=2',
            'train_cfg.val_interval=2',
            'default_hooks.checkpoint.interval=2',
            'train_dataloader.batch_size=2',
        ]
        name, longer = 'iter_2.pth', 'train_cfg.max_iters=3'
    where = ('--data-root', root, '--work-dir', tmp_path / 'run')
    done = run_tool('train.py', config, *where, '--cfg-options', *options)
    assert done.returncode == 0, done.stderr
    path = tmp_path / 'run' / name
    for knows in (True, False):
        monkeypatch.setattr(safe_load, 'TORCH_KNOWS_STAND_INS', knows)
        loaded = safe_load.load(path)
        assert loaded['optimizer']['state']
        assert len(loaded['message_hub']['log_scalars']['train/loss'].data[0]) >= 2
    done = run_tool(
        'train.py',
        config,
        *where,
        '--resume',
        path,
        '--cfg-options',
        *options,
        longer,
    )
    assert done.returncode == 0, done.stderr
    assert 'resumed epoch: ' in done.stdout + done.stderr
