"""How a run starts and what it leaves, in this process."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from helpers.commands import REPO, find_script
from helpers.killed_runs import load_short
from mmengine.config import Config
from mmengine.hooks import Hook

from mmrapidnet.apis import options
from mmrapidnet.apis.cli import INTERRUPTED
from mmrapidnet.apis.test import test as run_test
from mmrapidnet.apis.train import build_runner, train
from mmrapidnet.checkpoints.safe_load.load import load
from mmrapidnet.config.load import check_work_dir
from mmrapidnet.engine.dist import check_launcher
from mmrapidnet.engine.hooks import check_warmup
from mmrapidnet.engine.resume import make_resumable
from mmrapidnet.utils.errors import UserError


class Start(Hook):
    """Keeps the weights a run starts from, and its losses."""

    def __init__(self):
        self.weights, self.losses = {}, []

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if not self.weights:
            state = runner.model.state_dict()
            self.weights = {name: value.clone() for name, value in state.items()}
            self.laid_out = [
                value.is_contiguous(memory_format=torch.channels_last)
                for value in state.values()
                if value.ndim == 4 and value[0, :, 0, 0].numel() > 1
            ]

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.losses.append(float(outputs['loss']))


@pytest.mark.parametrize('kind', ['segmenter', 'detector'])
def test_fast_starts_from_the_same_weights(kind, shapes_root, tmp_path):
    starts = []
    for fast in (False, True):
        folder = tmp_path / str(fast)
        folder.mkdir()
        cfg = load_short(kind, folder, shapes_root, **{'train_cfg.max_iters': 2})
        cfg.work_dir = str(folder / 'run')
        if fast:
            options.enable_fast_step(cfg)
        make_resumable(cfg)
        runner = build_runner(cfg)
        starts.append(Start())
        runner.register_hook(starts[-1])
        runner.train()
    slow, fast = starts
    assert all(fast.laid_out)
    assert not all(slow.laid_out)
    assert slow.weights.keys() == fast.weights.keys()
    for name, weight in slow.weights.items():
        assert torch.equal(weight, fast.weights[name]), name
    assert fast.losses == pytest.approx(slow.losses, rel=1e-4)


@pytest.fixture
def warned(monkeypatch):
    """What is said of warm-ups."""
    lines = []
    monkeypatch.setattr(
        check_warmup, 'print_log', lambda line, **kwargs: lines.append(line)
    )
    return lines


def test_a_finished_run_keeps_its_metrics(shapes_root, tmp_path, warned):
    cfg = load_short('segmenter', tmp_path, shapes_root, **{'train_cfg.max_iters': 1})
    cfg.work_dir = str(tmp_path / 'run')
    metrics = tmp_path / 'run' / 'metrics.json'
    train(cfg.copy())
    assert json.loads(metrics.read_text())['iter'] == 1
    # The recipe's warm-up has 50 iterations.
    (line,) = warned
    assert 'ends after 50 iterations, but the run has 1: ' in line
    metrics.write_text('those of its validation')
    again = cfg.copy()
    again.resume = 'auto'
    train(again)
    assert metrics.read_text() == 'those of its validation'


def test_a_run_does_not_go_on_with_classes_in_another_order(shapes_root, tmp_path):
    cfg = load_short('segmenter', tmp_path, shapes_root, **{'train_cfg.max_iters': 1})
    cfg.work_dir = str(tmp_path / 'run')
    train(cfg.copy())
    again = cfg.copy()
    again.update(resume='auto', train_cfg=dict(max_iters=2))
    metainfo = again.train_dataloader.dataset.metainfo
    metainfo.classes = metainfo.classes[::-1]
    with pytest.raises(UserError, match=r'iter_1.pth was trained with .* as class 0'):
        train(again)


def test_an_interrupted_run_leaves_its_last_checkpoint(shapes_root, tmp_path):
    """In a Python of its own: a fork has threads' remains of whatever ran before."""
    cfg = load_short('detector', tmp_path, shapes_root, **{'train_cfg.max_iters': 1000})
    cfg.dump(tmp_path / 'long.py')
    work_dir, log = tmp_path / 'run', tmp_path / 'log.txt'
    command = [find_script('train.py'), tmp_path / 'long.py', '--work-dir', work_dir]
    with log.open('w') as output:
        process = subprocess.Popen(
            [sys.executable, *map(str, command)],
            stdout=output,
            stderr=output,
            # Where the tests themselves run in the background, Ctrl-C is ignored.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
            env={**os.environ, 'PYTHONPATH': str(REPO)},
        )
    pointer = work_dir / 'last_checkpoint'
    while process.poll() is None and not pointer.exists():
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    assert process.wait(300) == INTERRUPTED, log.read_text()
    assert log.read_text().splitlines()[-1] == 'interrupted'
    assert 'Traceback' not in log.read_text()
    checkpoint = load(pointer.read_text())
    assert checkpoint['meta']['iter'] >= 1
    assert 'optimizer' in checkpoint


class Run:
    """What the check of warm-ups looks at."""

    max_epochs, max_iters = 3, 300

    def __init__(self, kind, *many, **settings):
        optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
        self.param_schedulers = [kind(optimizer, *many, **settings)]


def warmups():
    from mmdet.engine.schedulers import QuadraticWarmupLR
    from mmengine.optim import ConstantLR, CosineAnnealingLR, LinearLR

    from mmrapidnet.engine.schedulers import WarmupCosineLR

    cosine = dict(warmup_lr=0.1, eta_min=0.0, end=3)
    by_iter = dict(by_epoch=False)
    return [
        (Run(LinearLR, 0.1, end=301, **by_iter), 'LinearLR) ends after 301 iterations'),
        (Run(LinearLR, 0.1, end=300, **by_iter), None),
        (Run(LinearLR, 0.1, end=4), 'LinearLR) ends after 4 epochs, but the run has 3'),
        (Run(LinearLR, 1.0, end_factor=0.1, end=4), None),
        (Run(ConstantLR, 0.5, end=5), 'ConstantLR) ends after 5 epochs'),
        (Run(QuadraticWarmupLR, end=5), 'QuadraticWarmupLR) ends after 5 epochs'),
        (Run(WarmupCosineLR, 4, **cosine), 'WarmupCosineLR) ends after 4 epochs'),
        (Run(WarmupCosineLR, 2, **cosine), None),
        (Run(CosineAnnealingLR, 9, end=9), None),
    ]


def test_warmups_that_do_not_end(warned):
    for run, expected in warmups():
        check_warmup.CheckWarmupHook().before_train(run)
        if expected is None:
            assert warned == []
        else:
            assert expected in warned.pop()
        run.param_schedulers = {'generator': run.param_schedulers}
        check_warmup.CheckWarmupHook().before_train(run)
        assert bool(warned) is (expected is not None)
        warned.clear()
    run.param_schedulers = None
    check_warmup.CheckWarmupHook().before_train(run)
    assert warned == []


class Folder:
    """What the check of the work dir needs of a config."""

    def __init__(self, work_dir):
        self.work_dir = str(work_dir)


def test_a_work_dir_that_is_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path('file').write_text('')
    Path('nowhere').symlink_to('gone')
    for good in ('.', 'new/run', tmp_path, tmp_path / 'new'):
        check_work_dir(Folder(good))
    for bad in ('file', 'file/run/1', tmp_path / 'file', 'nowhere'):
        with pytest.raises(
            UserError, match=r'work dir .* cannot be used: .* is not a f'
        ):
            check_work_dir(Folder(bad))
    cfg = Config(dict(default_scope='mmseg', model={}, work_dir='file'))
    for run in (lambda: train(cfg), lambda: run_test(cfg, 'a.pth')):
        with pytest.raises(UserError, match='work dir file cannot be used'):
            run()


@pytest.mark.parametrize(
    ('launcher', 'message'),
    [
        (
            'pytorch',
            r'--launcher pytorch: RANK, WORLD_SIZE, MASTER_ADDR, MASTER_PORT is not '
            r'set, so this process was not started by torchrun \(tools/dist_train.sh C',
        ),
        ('slurm', r'--launcher slurm: SLURM_PROCID, .* was not started by srun; leave'),
        ('mpi', r'--launcher mpi: OMPI_COMM_WORLD_RANK, .* not started by mpirun'),
    ],
)
def test_a_launcher_that_did_not_launch(launcher, message, monkeypatch):
    for name in ('RANK', 'WORLD_SIZE', 'MASTER_ADDR', 'MASTER_PORT'):
        monkeypatch.delenv(name, raising=False)
    check_launcher('none')
    with pytest.raises(UserError, match=message):
        check_launcher(launcher)
    for name, value in (('RANK', 0), ('WORLD_SIZE', 1), ('MASTER_ADDR', 'localhost')):
        monkeypatch.setenv(name, str(value))
    monkeypatch.setenv('MASTER_PORT', '1')
    check_launcher('pytorch')
