"""Long jobs as a sequence of the tools' commands, each printed before it runs."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from mmrapidnet.utils.errors import UserError

# What mmengine's logger says of a training or testing iteration.
_PROGRESS = re.compile(
    r'Iter\((?P<mode>\w+)\)\s*\[\s*(?P<step>\d+)/(?P<total>\d+)\]'
    r'(?:.*?eta: (?P<eta>[\d:, day]+?)\s\s)?(?:.*?\bloss: (?P<loss>[\d.]+))?'
)


def run_tool(tool: Path, arguments: Sequence[str | Path], log: Path) -> None:
    """Run a script of tools/, its output in a file and its progress in sight.

    Args:
        tool: The script.
        arguments: What it is called with, a config first.
        log: The file for its output.

    Raises:
        UserError: If it fails, naming the log.
    """
    command = [relpath(part) for part in (Path(sys.executable), tool, *arguments)]
    print_command(command)
    with (
        log.open('w') as file,
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as process,
    ):
        for line in process.stdout:
            file.write(line)
            match = match_progress(line)
            if match:
                print_now('    ' + describe_progress(match))
    if process.returncode:
        last = next((s for s in reversed(log.read_text().splitlines()) if s), '')
        config = Path(arguments[0]).name
        raise UserError(f'{tool.name} {config} failed: {last} (see {relpath(log)})')


def last_checkpoint(work_dir: Path) -> Path:
    """The newest checkpoint of a run, as mmengine notes it."""
    return Path((work_dir / 'last_checkpoint').read_text().strip())


def match_progress(line: str) -> re.Match | None:
    """Find where a run is in a line of its log, if that line says so."""
    return _PROGRESS.search(line)


def describe_progress(match: re.Match) -> str:
    """Say in a few words where a run is."""
    words = f'{match["mode"]:5} {int(match["step"]):5d}/{match["total"]}'
    if match['loss']:
        words += f'  loss {match["loss"]}'
    if match['eta']:
        words += f'  time left {match["eta"]}'
    return words


def print_command(command: Sequence[str | Path]) -> None:
    """Print a command as the user can type it, before it runs."""
    print_now('  $ ' + shlex.join(map(relpath, command)))


def own_command(module: str) -> str:
    """The command that started this process, as the user can type it."""
    return shlex.join(['python', '-m', module, *sys.argv[1:]])


def print_now(words: str) -> None:
    """Print at once, also into a pipe."""
    print(words, flush=True)


def relpath(part: str | Path) -> str:
    """A path relative to where the user stands, if it lies below."""
    here = Path.cwd()
    if isinstance(part, Path) and part.is_relative_to(here):
        part = part.relative_to(here)
    return str(part)
