"""Watching real processes: what they hold, and that none stays."""

import sys

import psutil
import pytest

from mmrapidnet.errors import UserError
from mmrapidnet.memory.curve import MIB
from mmrapidnet.memory.watch import watch

HOLD = """
import subprocess, sys, time
if len(sys.argv) < 2:
    child = subprocess.Popen([sys.executable, __file__, 'child'])
    kept = b'x' * 40 * 2**20
else:
    kept = b'x' * 90 * 2**20
time.sleep({seconds})
"""


def write(folder, text):
    path = folder / 'script.py'
    path.write_text(text)
    return [sys.executable, str(path)]


def test_a_process_and_its_child(tmp_path):
    command = write(tmp_path, HOLD.format(seconds=3))
    curve = watch(command, tmp_path / 'log', interval=0.1)
    assert 40 * MIB < max(curve.main) < 70 * MIB
    assert 90 * MIB < max(curve.workers) < 120 * MIB
    assert curve.times == sorted(curve.times)


def test_stopped_with_all_its_children(tmp_path):
    command = write(tmp_path, HOLD.format(seconds=600))
    curve = watch(command, tmp_path / 'log', seconds=2, interval=0.1)
    assert curve.workers[-1] > 0
    running = [process.info['cmdline'] for process in psutil.process_iter(['cmdline'])]
    assert not any(command[1] in (line or ()) for line in running)


def test_a_command_that_fails(tmp_path):
    command = write(tmp_path, "import sys\nsys.exit('no luck')")
    with pytest.raises(UserError, match=r'script.py ended with status 1: no luck \('):
        watch(command, tmp_path / 'log', interval=0.1)


def test_a_command_that_ends_too_early(tmp_path):
    command = write(tmp_path, "print('done')")
    with pytest.raises(UserError, match=r'ended with status 0: done \(see \S+log\)'):
        watch(command, tmp_path / 'log', seconds=600, interval=0.1)
