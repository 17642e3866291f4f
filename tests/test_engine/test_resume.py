"""Runs that are killed at any moment and end as if they had not been."""

import json
import os
import random
import re
import signal
import time

import psutil
import pytest
import torch
from helpers import tiny_pretraining
from helpers.commands import REPO
from helpers.killed_runs import (
    ITERATIONS,
    KilledRun,
    die_at,
    limit_files,
    load_short,
    wait_at,
)
from mmengine.config import Config

from dev.compare_checkpoints import iter_values, list_differences
from mmrapidnet.apis.options import accumulate
from mmrapidnet.checkpoints.safe_load.load import load
from mmrapidnet.config.load import load_config
from mmrapidnet.engine import resume as resume_module
from mmrapidnet.engine.hooks.checkpoint import WholeFilesBackend
from mmrapidnet.engine.resume import adopt_seed, find_start, make_resumable

KILLED = -signal.SIGKILL
LAST = f'iter_{ITERATIONS}.pth'


DETECTOR = pytest.param('detector', marks=pytest.mark.slow)


@pytest.fixture(scope='module', params=['segmenter', DETECTOR])
def undisturbed(request, shapes_root, tmp_path_factory):
    """A config, and the last checkpoint of its run."""
    folder = tmp_path_factory.mktemp(request.param)
    cfg = load_short(request.param, folder, shapes_root)
    finish(cfg, folder / 'undisturbed')
    return cfg, load(folder / 'undisturbed' / LAST)


def start(cfg, work_dir, *prepare, **options):
    """Start, or go on with, a run of its own."""
    cfg = cfg.copy()
    cfg.update(work_dir=str(work_dir), resume='auto')
    cfg.merge_from_dict(options)
    return KilledRun(cfg, *prepare)


def finish(cfg, work_dir, **options):
    """Go on to the end, returning what is printed."""
    text = start(cfg, work_dir, **options).finish()
    assert not list(work_dir.glob('.*.partial'))
    return text


def assert_equal(checkpoint, expected):
    assert list_differences(load(checkpoint), expected) == []


def kill_once(cfg, root, step, name):
    """Run a config undisturbed, and killed at a step of a file, in two folders."""
    whole, torn = root / 'whole', root / 'torn'
    finish(cfg, whole)
    assert start(cfg, torn, die_at, step, name).end() == KILLED
    finish(cfg, torn)
    return whole, torn


def test_another_run_ends_with_the_same_bits(undisturbed, tmp_path):
    """Also with two workers that prepare the images."""
    cfg, expected = undisturbed
    finish(cfg, tmp_path, **{'train_dataloader.num_workers': 2})
    assert_equal(tmp_path / LAST, expected)
    earlier = load(tmp_path / f'iter_{ITERATIONS - 1}.pth')
    values = list(iter_values(earlier))
    assert len(list_differences(earlier, expected)) > len(values) / 3


def test_whatever_happens_to_it(undisturbed, tmp_path):
    """Killed starting, training, with a file in part or not yet noted; a full disk."""
    cfg, expected = undisturbed
    generator = random.Random(0)

    def kill(found, most):
        """Some time after a file; however fast it is, it waits at the fourth."""
        life = start(cfg, tmp_path, wait_at, 'iter_4.pth')
        return life.kill_after(found, most * generator.random())

    assert kill('life.txt', 1) == KILLED
    assert kill('last_checkpoint', 0.25) == KILLED
    assert start(cfg, tmp_path, die_at, 'write', '.iter_4.pth').end() == KILLED
    assert list(tmp_path.glob('.*.partial')) == [tmp_path / '.iter_4.pth.partial']
    fill_disk(cfg, tmp_path)
    assert start(cfg, tmp_path, die_at, 'renamed', 'iter_5.pth').end() == KILLED
    text = finish(cfg, tmp_path)
    assert_equal(tmp_path / LAST, expected)
    started = int(re.search(r'going on from \S+iter_(\d+).pth', text)[1])
    trained = [int(n) for n in re.findall(r'Iter\(train\) *\[ *(\d+)/', text)]
    assert trained == list(range(started + 1, ITERATIONS + 1))


def fill_disk(cfg, work_dir):
    """Go on without room for the fourth file: one line, and nothing half-written."""
    life = start(cfg, work_dir, limit_files, 200_000)
    assert life.end() == 1
    *_, line = life.log.read_text().splitlines()
    assert re.fullmatch(
        rf'error: {work_dir}/iter_4.pth cannot be written: File too large, \d+ MB are '
        rf'free; last whole checkpoint: {work_dir}/iter_3.pth; make room, then go on '
        'with --resume auto',
        line,
    )
    assert 'Traceback' not in life.log.read_text()
    files = sorted(path.name for path in work_dir.glob('*.pth*'))
    assert files == ['iter_2.pth', 'iter_3.pth']


def test_workers_end_with_a_killed_run(undisturbed, tmp_path):
    """Also with samples prepared that nobody reads any more."""
    cfg, _ = undisturbed
    options = {'num_workers': 2, 'persistent_workers': True, 'prefetch_factor': 8}
    options = {f'train_dataloader.{key}': value for key, value in options.items()}
    life = start(cfg, tmp_path, wait_at, 'iter_4.pth', **options)
    while not (tmp_path / '.iter_4.pth.partial').exists():
        assert life.process.is_alive()
        time.sleep(0.01)
    workers = psutil.Process(life.process.pid).children()
    assert len(workers) == 2
    life.process.kill()
    assert life.end() == KILLED
    _, alive = psutil.wait_procs(workers, timeout=30)
    for worker in alive:
        worker.kill()
    assert not alive


@pytest.mark.parametrize('kind', ['detector', 'sam'])
def test_random_samples_of_what_is_seen(kind, shapes_root, tmp_path):
    """Losses of a random sample of anchors and proposals, and of random prompts."""
    options = {'train_cfg.max_iters': 4}
    cfg = load_short(kind, tmp_path, shapes_root, **options)
    whole, torn = kill_once(cfg, tmp_path, 'renamed', 'iter_2.pth')
    assert_equal(torn / 'iter_4.pth', load(whole / 'iter_4.pth'))


@pytest.mark.slow
@pytest.mark.parametrize('step', ['sync', 'rename'])
def test_steps_in_parts(step, shapes_root, tmp_path):
    """An iteration of three batches is a step: no gradients wait for the next."""
    cfg = load_short('segmenter', tmp_path, shapes_root)
    accumulate(cfg, 3)
    cfg.train_cfg.max_iters = 5
    whole, torn = kill_once(cfg, tmp_path, step, 'iter_3.pth')
    for name in ('iter_4.pth', 'iter_5.pth'):
        assert_equal(torn / name, load(whole / name))


@pytest.mark.slow
@pytest.mark.parametrize(
    ('step', 'name'),
    [
        ('rename', 'iter_2.pth'),
        ('renamed', 'iter_4.pth'),
        ('write', 'best_mIoU_iter'),
        ('renamed', 'last_checkpoint'),
    ],
)
def test_validation_and_the_best_checkpoint(step, name, shapes_root, tmp_path):
    """The same files and metrics are left, however the run was interrupted."""
    folder = tmp_path / 'config'
    folder.mkdir()
    cfg = load_short('segmenter', folder, shapes_root)
    stock = load_config(cfg.filename, data_root=str(shapes_root / 'ade'))
    for key in ('val_cfg', 'val_dataloader', 'val_evaluator'):
        cfg[key] = stock[key]
    cfg.train_cfg.update(max_iters=6, val_interval=2)
    cfg.default_hooks.checkpoint.update(save_best='mIoU', max_keep_ckpts=1)
    whole, torn = kill_once(cfg, tmp_path, step, name)
    names = sorted(path.name for path in whole.glob('*.pth'))
    assert len(names) == 2
    assert sorted(path.name for path in torn.glob('*.pth')) == names
    for path in whole.glob('*.pth'):
        assert_equal(torn / path.name, load(path))
    metrics = [json.loads((run / 'metrics.json').read_text()) for run in (whole, torn)]
    assert metrics[0]['metrics'] == metrics[1]['metrics'] != {}


@pytest.mark.slow
@pytest.mark.parametrize(
    ('step', 'name'), [('write', '.epoch_2.pth'), ('renamed', 'epoch_2.pth')]
)
def test_epochs_with_a_moving_average(step, name, tmp_path):
    """A classifier by the recipe of the papers: augmentation, mixing, averages."""
    folder, root = tmp_path / 'config', tmp_path / 'data'
    folder.mkdir()
    tiny_pretraining.write_images(root, 'list')
    cfg = tiny_pretraining.load_tiny(folder, root, **{'train_cfg.max_epochs': 3})
    cfg.model.head.distillation = 'none'
    whole, torn = kill_once(cfg, tmp_path, step, name)
    expected = load(whole / 'epoch_3.pth')
    assert 'ema_state_dict' in expected
    assert_equal(torn / 'epoch_3.pth', expected)


@pytest.mark.parametrize(
    'name',
    [
        'maskrcnn_rapidnet_ti_coco',
        'semfpn_rapidnet_ti_ade20k',
        'rapidnet_ti_in1k',
        'maskrcnn_rapidnet_ti_custom',
        'rapidnet_ti_shapescls',
    ],
)
def test_a_config_of_each_kind(name):
    cfg = load_config(str(REPO / 'configs' / f'{name}.py'))
    make_resumable(cfg)
    by_epoch = cfg.default_hooks.checkpoint.get('by_epoch', True)
    assert cfg.train_cfg.type == f'Repeatable{"Epoch" if by_epoch else "Iter"}Loop'
    assert cfg.default_hooks.checkpoint.type == 'DurableCheckpointHook'
    assert cfg.randomness.seed == 0
    for module in ('loops', 'hooks.checkpoint'):
        assert f'mmrapidnet.engine.{module}' in cfg.custom_imports.imports
    again = cfg.copy()
    make_resumable(again)
    assert again.to_dict() == cfg.to_dict()


def test_what_is_left_as_it_is(monkeypatch):
    said = []
    monkeypatch.setattr(resume_module, '_say', said.append)
    hook = dict(type='CheckpointHook', interval=3)
    for changes in (
        dict(type='MyHook'),
        dict(out_dir='s3://bucket/run'),
        dict(backend_args=dict(backend='petrel')),
    ):
        hooks = dict(checkpoint={**hook, **changes})
        cfg = Config(
            dict(
                train_cfg=dict(type='MyLoop'),
                default_hooks=hooks,
                randomness=dict(seed=3, deterministic=True),
            )
        )
        make_resumable(cfg)
        assert cfg.to_dict() == dict(
            train_cfg=dict(type='MyLoop'),
            default_hooks=hooks,
            randomness=dict(seed=3, deterministic=True),
        )
        loop, checkpoints = said
        assert loop.startswith('a killed run of a MyLoop cannot be repeated exactly')
        assert checkpoints.startswith('a killed run may leave a checkpoint in part')
        said.clear()
    for hooks in ({}, dict(checkpoint=dict(type='CheckpointHook', interval=1))):
        cfg = Config(dict(train_cfg=dict(by_epoch=False), default_hooks=hooks))
        make_resumable(cfg)
        assert cfg.train_cfg == dict(type='RepeatableIterLoop')
        checkpoint = dict(type='DurableCheckpointHook', interval=1)
        assert cfg.default_hooks.checkpoint == checkpoint
        assert said == []


@pytest.mark.parametrize(
    ('hook', 'name'),
    [
        (dict(by_epoch=False), 'run/iter_2.pth'),
        (dict(), 'run/epoch_2.pth'),
        (dict(out_dir='{root}/out'), 'out/run/epoch_2.pth'),
        (dict(filename_tmpl='at_{}.pth'), 'run/at_2.pth'),
    ],
)
def test_where_a_run_starts(hook, name, tmp_path):
    """From what the config says until it has a checkpoint of its own."""
    hook = {k: str(v).format('{}', root=tmp_path) if v else v for k, v in hook.items()}
    cfg = Config(
        dict(
            work_dir=str(tmp_path / 'run'),
            default_hooks=dict(checkpoint=hook),
            resume='auto',
            load_from='coco.pth',
        )
    )
    assert find_start(cfg) is None
    assert (cfg.resume, cfg.load_from) == (False, 'coco.pth')
    path = tmp_path / name
    path.parent.mkdir(parents=True)
    torch.save(dict(state_dict={}, optimizer={}, meta={}, message_hub={}), path)
    content, found = find_start(cfg)
    assert (cfg.resume, cfg.load_from, found) == (True, str(path), str(path))
    assert set(content) == {'state_dict', 'optimizer', 'meta', 'message_hub'}


def test_the_seed_of_the_checkpoint():
    cfg = Config(dict(randomness=dict(seed=0)))
    adopt_seed(cfg, dict(meta=dict(seed=None)))
    assert cfg.randomness.seed == 0
    adopt_seed(cfg, dict(meta=dict(seed=41)))
    assert cfg.randomness.seed == 41


def test_only_files_of_the_run_are_removed(tmp_path):
    """Which ones comes from the checkpoint that was resumed."""
    run = tmp_path / 'run'
    run.mkdir()
    mine, other = run / 'iter_1.pth', tmp_path / 'precious'
    for path in (mine, other):
        path.touch()
    backend = WholeFilesBackend()
    for path in (mine, other, run / '..' / 'precious', run / 'gone.pth'):
        backend.remove(str(path))
    assert mine.exists()
    backend.remove_outdated(run)
    assert os.listdir(run) == []
    assert other.exists()
