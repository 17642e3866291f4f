"""Commands of the repository, run as a user would, and what is asserted of them."""

import io
import os
import runpy
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from unittest.mock import patch

REPO = Path(__file__).parents[2]


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
    """Run a script with this Python, of tools/ if no folder is named."""
    return run_command(sys.executable, find_script(name), *arguments, **options)


def call_tool(name: str, *arguments: str):
    """Run a script in this process, for tools that leave nothing behind in it."""
    command = [str(find_script(name)), *map(str, arguments)]
    out, err, status = io.StringIO(), io.StringIO(), 0
    with patch.object(sys, 'argv', command), redirect_stdout(out), redirect_stderr(err):
        try:
            runpy.run_path(command[0], run_name='__main__')
        except SystemExit as end:
            status = end.code
    return subprocess.CompletedProcess(command, status, out.getvalue(), err.getvalue())


def find_script(name: str | Path) -> Path:
    """The path of a script such as 'train.py' (of tools/) or 'dev/parity.py'."""
    return REPO / name if len(Path(name).parts) > 1 else REPO / 'tools' / name


def assert_one_line_error(process, *expected: str) -> None:
    """Hold a failed command to its promise: one line, no traceback, non-zero."""
    assert process.returncode != 0, process.stdout
    assert 'Traceback' not in process.stderr + process.stdout, process.stderr
    lines = [line for line in process.stderr.splitlines() if line.startswith('error: ')]
    assert len(lines) == 1, process.stderr
    for part in expected:
        assert part in lines[0], lines[0]
