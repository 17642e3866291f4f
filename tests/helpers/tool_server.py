"""A process that has imported what the tools import, and forks for each of them.

Starting Python and importing the libraries takes most of the time of a tool that is
given bad input, and it is the same for all.
"""

import contextlib
import functools
import gc
import json
import multiprocessing
import os
import resource
import runpy
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import torch
from mmengine.runner import runner

from helpers import cheap_runs
from helpers.commands import REPO, find_script
from mmrapidnet import compat

_LIBRARIES = ('mmdet.apis', 'mmseg.apis', 'mmpretrain.apis')
_LOG_MODE = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND
# What a new process would compute with, and so what a fork does.
_THREADS = torch.get_num_threads()


def fork_tool(name: str, *arguments, cwd: Path = REPO, timeout: float = 600):
    """Run a script of tools/ as ``commands.run_tool`` does, but not in a new Python.

    Args:
        name: The script.
        arguments: Its arguments.
        cwd: Where it runs. Defaults to the repository.
        timeout: Seconds after which it is killed, with its children. Defaults to 600.

    Returns:
        The finished process, as of ``subprocess.run``.

    Raises:
        subprocess.TimeoutExpired: If it was killed.
    """
    server = _start()
    command = [str(find_script(name)), *map(str, arguments)]
    with tempfile.TemporaryDirectory() as folder:
        server.stdin.write(json.dumps([command, str(cwd), folder, timeout]) + '\n')
        server.stdin.flush()
        status = json.loads(server.stdout.readline())
        out, err = (log.read_text(errors='replace') for log in _logs(folder))
    if status is None:
        raise subprocess.TimeoutExpired(command, timeout, out, err)
    return subprocess.CompletedProcess(command, status, out, err)


@functools.cache
def _start() -> subprocess.Popen:
    """The server; it ends with the process that started it, at the end of its input."""
    pipes = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    env = {**os.environ, 'PYTHONPATH': f'{REPO}:{REPO / "tests"}'}
    return subprocess.Popen([sys.executable, __file__], cwd=REPO, env=env, **pipes)


def _logs(folder: str) -> tuple[Path, Path]:
    return Path(folder, 'stdout'), Path(folder, 'stderr')


def _serve() -> None:
    with contextlib.redirect_stdout(sys.stderr):
        import_libraries()
    for line in sys.stdin:
        command, cwd, folder, timeout = json.loads(line)
        print(json.dumps(_fork(command, cwd, folder, timeout)), flush=True)


def import_libraries() -> None:
    """Import what takes the tools seconds to import, as far as it is installed."""
    compat.apply()
    torch.set_num_threads(1)  # threads do not survive a fork, which starts its own
    for name in _LIBRARIES:
        if find_spec(name.partition('.')[0]):
            import_module(name)
    cheap_runs.apply()
    runner.collect_env()
    gc.freeze()  # forks that collect garbage need not copy what they share


def _fork(command: Sequence[str], cwd: str, folder: str, timeout: float) -> int | None:
    """The exit status; negative: the signal that ended it; None: it took too long."""
    # Not os.fork: its children end as Python does, and their data workers with them.
    context = multiprocessing.get_context('fork')
    child = context.Process(target=_become, args=(command, cwd, folder))
    child.start()
    child.join(timeout)
    if child.exitcode is None:
        os.killpg(child.pid, signal.SIGKILL)
        child.join()
        return None
    return child.exitcode


def _become(command: Sequence[str], cwd: str, folder: str) -> None:
    """Run the script, in the child."""
    os.setsid()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for target, log in enumerate(_logs(folder), 1):
        os.dup2(os.open(log, _LOG_MODE), target)
    sys.stdout = os.fdopen(1, 'w', buffering=1, closefd=False)
    sys.stderr = os.fdopen(2, 'w', buffering=1, closefd=False)
    os.chdir(cwd)
    torch.set_num_threads(_THREADS)
    sys.argv = list(command)
    sys.path[0] = str(Path(command[0]).parent)
    runpy.run_path(command[0], run_name='__main__')


if __name__ == '__main__':
    _serve()
