"""A job that loses a process ends, with a line that says which."""

import signal
import sys

import pytest
import torch
from helpers.commands import REPO, run_command
from helpers.forked import fork_ranks
from helpers.losing_ranks import WAYS, lose
from helpers.tiny_models import write_config
from mmengine.config import Config
from torch import distributed

from mmrapidnet.apis.cli import main_guard
from mmrapidnet.engine.dist import TIMEOUT, naming_lost_ranks, set_timeout
from mmrapidnet.utils.errors import UserError


@pytest.mark.parametrize('way', WAYS)
def test_the_others_name_it(way, tmp_path):
    """Without torchrun, which would end them before they can say anything."""

    def take_part(rank: int) -> None:
        sys.stderr = (tmp_path / str(rank)).open('w', buffering=1)
        main_guard(lambda: exchange(rank))

    def exchange(rank: int) -> None:
        with naming_lost_ranks():
            distributed.all_reduce(torch.ones(1))
            if rank == 1:
                lose(way)
            distributed.all_reduce(torch.ones(1))

    ranks = fork_ranks(3, take_part, timeout=10)
    for survivor in (ranks[0], ranks[2]):
        survivor.join(60)
        assert survivor.exitcode == 1
    if way == 'hanging':
        ranks[1].kill()
    ranks[1].join(60)
    assert ranks[1].exitcode == (1 if way == 'failing' else -signal.SIGKILL)
    for rank in (0, 2):
        (line,) = (tmp_path / str(rank)).read_text().splitlines()
        assert line.startswith(f'error: rank {rank}: waited in vain for rank 1: ')
    if way == 'failing':
        own = (tmp_path / '1').read_text()
        assert 'error: rank 1: RuntimeError: no such luck\n' in own


def test_how_long_processes_wait():
    cfg = Config(dict(env_cfg=dict(dist_cfg=dict(backend='nccl'))))
    set_timeout(cfg, None)
    assert cfg.env_cfg.dist_cfg == dict(backend='nccl', timeout=TIMEOUT)
    set_timeout(cfg, 90)
    set_timeout(cfg, None)
    assert cfg.env_cfg.dist_cfg.timeout == 90
    with pytest.raises(UserError, match='--timeout 0: it must be a number of seconds'):
        set_timeout(cfg, 0)


@pytest.mark.slow
@pytest.mark.parametrize('way', WAYS)
def test_training_ends(way, shapes_root, tmp_path):
    config = write_config('segmenter', tmp_path)
    with config.open('a') as file:
        file.write(
            "custom_imports = dict(imports=['mmrapidnet', 'helpers.losing_ranks'])\n"
            f"custom_hooks = [dict(type='LosingHook', way='{way}')]\n"
        )
    done = run_command(
        REPO / 'tools' / 'dist_train.sh',
        config,
        '2',
        '--timeout',
        '20',
        '--data-root',
        shapes_root / 'ade',
        '--work-dir',
        tmp_path / 'run',
        '--cfg-options',
        'train_dataloader.batch_size=2',
        'train_dataloader.num_workers=0',
        'train_dataloader.persistent_workers=False',
        PYTHON=sys.executable,
        PYTHONPATH=f'{REPO}:{REPO / "tests"}',
        OMP_NUM_THREADS='1',
    )
    assert done.returncode == 1
    if way == 'hanging':
        assert 'error: rank 0: waited in vain for rank 1: ' in done.stderr
        return
    # torchrun's report.
    report = done.stderr[done.stderr.index('Root Cause') :]
    assert 'rank      : 1 ' in report
    status = '-9' if way == 'killed' else '1'
    assert f'exitcode  : {status} ' in report
    if way == 'failing':
        assert 'error: rank 1: RuntimeError: no such luck' in done.stderr
