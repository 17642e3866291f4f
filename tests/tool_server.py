"""A process that has imported what the tools import, and forks for each of them.

Starting Python and importing the libraries takes most of the time of a tool that is
given bad input, and it is the same for all.
"""

import contextlib
import functools
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from mmrapidnet.fuzz.forked import fork_script, import_libraries

REPO = Path(__file__).parents[1]


def fork_tool(name: str, *arguments, timeout: float = 600):
    """Run a script of tools/ as ``conftest.run_tool`` does, but not in a new Python.

    Args:
        name: The script.
        arguments: Its arguments.
        timeout: Seconds it may take. Defaults to 600.

    Returns:
        The finished process, as of ``subprocess.run``.
    """
    server = _start()
    command = [str(REPO / 'tools' / name), *map(str, arguments)]
    with tempfile.TemporaryDirectory() as folder:
        server.stdin.write(json.dumps([command, folder, timeout]) + '\n')
        server.stdin.flush()
        status = json.loads(server.stdout.readline())
        if status is None:
            raise subprocess.TimeoutExpired(command, timeout)
        out, err = (log.read_text(errors='replace') for log in _logs(folder))
    return subprocess.CompletedProcess(command, status, out, err)


@functools.cache
def _start() -> subprocess.Popen:
    """The server; it ends with the process that started it, at the end of its input."""
    pipes = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    env = {**os.environ, 'PYTHONPATH': str(REPO)}
    return subprocess.Popen([sys.executable, __file__], cwd=REPO, env=env, **pipes)


def _logs(folder: str) -> tuple[Path, Path]:
    return Path(folder, 'stdout'), Path(folder, 'stderr')


def _serve() -> None:
    with contextlib.redirect_stdout(sys.stderr):
        import_libraries()
    for line in sys.stdin:
        (script, *arguments), folder, timeout = json.loads(line)
        status = fork_script(Path(script), arguments, REPO, _logs(folder), timeout)
        print(json.dumps(status), flush=True)


if __name__ == '__main__':
    _serve()
