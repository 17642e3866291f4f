"""Fixtures that several tests share; expensive ones are made once a session."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from mmengine.registry import DefaultScope

from mmrapidnet import compat

compat.apply()

REPO = Path(__file__).parents[1]


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


@pytest.fixture(scope='module', autouse=True)
def _no_scope_of_others():
    """Runners leave a default scope behind; no file of tests meets another's."""
    DefaultScope._instance_dict.clear()


@pytest.fixture(scope='session')
def shapes_root(tmp_path_factory) -> Path:
    """A small Shapes data set, the same for all tests."""
    from mmrapidnet.datasets.shapes import write_shapes

    root = tmp_path_factory.mktemp('data') / 'shapes'
    write_shapes(root, splits={'train': 12, 'val': 6}, image_size=96)
    return root
