"""The commands for several machines, with this machine as each of them."""

import json
import os
import socket
import subprocess
import sys

import pytest
from helpers.commands import REPO
from helpers.tiny_models import write_config

NODES = 2


def torchrun(node: int, port: str) -> tuple[list[str], dict[str, str], list[str]]:
    """Command, environment and options of a node with one process."""
    environment = {
        'NNODES': str(NODES),
        'NODE_RANK': str(node),
        'MASTER_ADDR': 'localhost',
        'PORT': port,
        'PYTHON': sys.executable,
    }
    return [str(REPO / 'tools' / 'dist_train.sh')], environment, ['1']


def slurm(node: int, port: str) -> tuple[list[str], dict[str, str], list[str]]:
    """What srun sets for the one task of a node."""
    environment = {
        'SLURM_PROCID': str(node),
        'SLURM_NTASKS': str(NODES),
        'SLURM_LOCALID': '0',
        'SLURM_NODELIST': 'node[1-2]',
        'MASTER_PORT': port,
    }
    train = str(REPO / 'tools' / 'train.py')
    return [sys.executable, train], environment, ['--launcher', 'slurm']


@pytest.mark.slow
@pytest.mark.parametrize('launch', [torchrun, slurm])
def test_two_nodes(launch, shapes_root, tmp_path):
    # Slurm's own command, which mmengine asks for the first node.
    scontrol = tmp_path / 'scontrol'
    scontrol.write_text('#!/bin/sh\n[ "$*" = "show hostname node[1-2]" ] || exit 1\n')
    with scontrol.open('a') as file:
        file.write('echo localhost\necho node2\n')
    scontrol.chmod(0o755)
    config = write_config('segmenter', tmp_path)
    with socket.socket() as probe:
        probe.bind(('localhost', 0))
        port = str(probe.getsockname()[1])
    nodes = []
    for node in range(NODES):
        command, environment, options = launch(node, port)
        clean = {k: v for k, v in os.environ.items() if k not in ('RANK', 'WORLD_SIZE')}
        nodes.append(
            subprocess.Popen(
                [
                    *command,
                    config,
                    *options,
                    '--work-dir',
                    tmp_path / 'run',
                    '--data-root',
                    shapes_root / 'ade',
                    '--accumulate',
                    '2',
                    '--timeout',
                    '120',
                    '--cfg-options',
                    'train_cfg.max_iters=2',
                    'train_dataloader.batch_size=1',
                    'train_dataloader.num_workers=0',
                    'train_dataloader.persistent_workers=False',
                ],
                env={
                    **clean,
                    **environment,
                    'PATH': f'{tmp_path}:{os.environ["PATH"]}',
                    'PYTHONPATH': str(REPO),
                    'OMP_NUM_THREADS': '1',
                },
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                cwd=REPO,
            )
        )
    printed = [node.communicate(timeout=580) for node in nodes]
    for node, (_, stderr) in zip(nodes, printed):
        assert node.returncode == 0, stderr[-3000:]
    stdout = ''.join(out for out, _ in printed)
    assert stdout.count('last validation') == 1
    assert json.loads((tmp_path / 'run' / 'metrics.json').read_text())['iter'] == 2
    assert len(list((tmp_path / 'run').glob('*/*.log'))) == 1
