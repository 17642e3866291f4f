"""Fixtures that several tests share; expensive ones are made once a session."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from mmrapidnet import compat

compat.apply()

REPO = Path(__file__).parents[1]


def randomize_norms(module: torch.nn.Module, seed: int = 0) -> torch.nn.Module:
    """Give batch normalisations statistics and weights that are not 0 and 1."""
    generator = torch.Generator().manual_seed(seed)
    for norm in module.modules():
        if isinstance(norm, torch.nn.modules.batchnorm._BatchNorm):
            for tensor, low, high in (
                (norm.running_mean, -0.5, 0.5),
                (norm.running_var, 0.5, 1.5),
                (norm.weight.data, 0.5, 1.5),
                (norm.bias.data, -0.5, 0.5),
            ):
                tensor.copy_(
                    torch.rand(tensor.shape, generator=generator) * (high - low) + low
                )
    return module


def run_command(*command: str, cwd=REPO, timeout: float = 600, **env: str):
    """Run a command of the repository, returning the finished process."""
    return subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env={**os.environ, 'PYTHONPATH': str(REPO), **env},
        capture_output=True,
        text=True,
        timeout=timeout,
    )


def run_tool(name: str, *arguments: str, **options):
    """Run a script of tools/ with this Python."""
    return run_command(sys.executable, REPO / 'tools' / name, *arguments, **options)


def assert_one_line_error(process, *expected: str) -> None:
    """Hold a failed command to its promise: one line, no traceback, non-zero."""
    assert process.returncode != 0, process.stdout
    assert 'Traceback' not in process.stderr + process.stdout, process.stderr
    lines = [line for line in process.stderr.splitlines() if line.startswith('error: ')]
    assert len(lines) == 1, process.stderr
    for part in expected:
        assert part in lines[0], lines[0]


@pytest.fixture(scope='session')
def shapes_root(tmp_path_factory) -> Path:
    """A small Shapes data set, the same for all tests."""
    from mmrapidnet.data import write_shapes

    root = tmp_path_factory.mktemp('data') / 'shapes'
    write_shapes(root, splits={'train': 12, 'val': 6}, image_size=96)
    return root
