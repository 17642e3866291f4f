"""Kill a training again and again, and compare what comes out with an undisturbed one.

Every step is a command that the user can type as well; it is printed before it runs.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from dev.compare_checkpoints import iter_values, list_differences
from dev.folders import OF_A_RUN, renew_folder
from dev.subprocess_steps import last_checkpoint, print_command, print_now, relpath
from mmrapidnet import compat
from mmrapidnet.apis.cli import main_guard
from mmrapidnet.checkpoints.state_dict import read_checkpoint, shorten
from mmrapidnet.utils.atomic import PARTIAL
from mmrapidnet.utils.errors import UserError

# What a run logs when it begins to train.
_BEGINS = 'Checkpoints will be saved to'
_GOES_ON = re.compile(r'going on from (\S+)')
# Moments to be killed at, in turns.
_MOMENTS = ('training', 'writing', 'starting', 'writing')
# A small checkpoint is written in some milliseconds.
_POLL_SECONDS, _POLL_SECONDS_WRITING = 0.05, 0.001


@dataclass(frozen=True)
class Kill:
    """A kill that a run was dealt.

    Attributes:
        moment: What was aimed at: 'starting', 'training', or 'writing' a checkpoint.
        seconds: How long the process had lived.
        partial: Whether a checkpoint was written in part.
        resumed_from: Name of the checkpoint that the next process went on from; empty
            if it started anew.
    """

    moment: str
    seconds: float
    partial: bool
    resumed_from: str


def check_resume(
    repo: Path,
    config: str,
    out: Path,
    kills: int = 20,
    seed: int = 0,
    arguments: Sequence[str] = (),
) -> list[Kill]:
    """Train twice, once undisturbed and once killed again and again, and compare.

    Args:
        repo: The repository, with ``tools/``.
        config: Path of the config.
        out: The folder for both runs.
        kills: How many kills. Defaults to 20.
        seed: Of the moments. Defaults to 0.
        arguments: What else tools/train.py is called with.

    Returns:
        The kills.

    Raises:
        UserError: If no kill is asked for, a run fails, it ends before all kills were
            dealt, or with other bits or metrics.
    """
    if kills < 1:
        raise UserError(f'--kills {kills}: give at least 1')
    train = repo / 'tools' / 'train.py'
    whole, torn = out / 'undisturbed', out / 'killed'
    for folder in (whole, torn):
        renew_folder(folder, [*OF_A_RUN, 'life_*.txt'])
    print_now(f'[1/2] undisturbed, in {relpath(whole)}')
    life = _Run(train, config, whole, arguments)
    starting = life.wait_for_begin()
    training = life.wait_for_end() - starting
    print_now(f'[2/2] killed {kills} times, in {relpath(torn)}')
    generator = random.Random(seed)
    # All delays together are shorter than the run, or it would end before the last.
    span = training / (kills + 1)
    dealt = []
    for number in range(kills):
        moment = _MOMENTS[number % len(_MOMENTS)]
        delay = generator.uniform(0, starting if moment == 'starting' else span)
        life = _Run(train, config, torn, arguments)
        seconds = life.kill(moment, delay)
        if seconds is None:
            raise UserError(
                f'{config} ended after {number} of {kills} kills: give --kills fewer '
                'or the run more iterations'
            )
        partial = any(torn.glob(f'.*{PARTIAL}'))
        dealt.append((moment, seconds, partial))
        print_now(f'    killed {number + 1}/{kills}, {moment}, after {seconds:.1f} s')
    life = _Run(train, config, torn, arguments)
    life.wait_for_end()
    sources = [_resumed_from(path) for path in _logs(torn)[1:]]
    history = [Kill(*kill, source) for kill, source in zip(dealt, sources)]
    _print_table(history)
    compare_ends(whole, torn)
    return history


def compare_ends(whole: Path, torn: Path) -> None:
    """Compare the last checkpoints and the metrics of two runs.

    Args:
        whole: Work dir of the undisturbed run.
        torn: Work dir of the killed one.

    Raises:
        UserError: If they differ, naming the first few values that do.
    """
    first, second = (last_checkpoint(folder) for folder in (whole, torn))
    left, right = (read_checkpoint(str(path)) for path in (first, second))
    differing = list_differences(left, right)
    if first.name != second.name or differing:
        raise UserError(
            f'{relpath(first)} and {relpath(second)} differ in {len(differing)} '
            f'values: {shorten(differing)}'
        )
    metrics = [
        json.loads((folder / 'metrics.json').read_text())['metrics']
        for folder in (whole, torn)
    ]
    if metrics[0] != metrics[1]:
        raise UserError(f'the metrics differ: {metrics[0]} and {metrics[1]}')
    count = len(list(iter_values(left)))
    print_now(
        f'{relpath(first)} and {relpath(second)} are equal in every bit of {count} '
        f'values; {len(metrics[0])} metrics are equal'
    )


class _Run:
    """A process of tools/train.py, with its output in a numbered file."""

    def __init__(
        self, train: Path, config: str, folder: Path, arguments: Sequence[str]
    ) -> None:
        self.folder = folder
        self.log = folder / f'life_{len(_logs(folder)):03d}.txt'
        command = [sys.executable, str(train), config, '--work-dir', str(folder)]
        command += ['--resume', 'auto', *arguments]
        print_command(command)
        self.begin = time.monotonic()
        with self.log.open('w') as log:
            self.process = subprocess.Popen(
                command, stdout=log, stderr=subprocess.STDOUT
            )

    @property
    def age(self) -> float:
        """Seconds since it began."""
        return time.monotonic() - self.begin

    def wait_for_begin(self) -> float:
        """Wait until it trains, returning its age."""
        self._wait(lambda: _BEGINS in self.log.read_text())
        return self.age

    def wait_for_end(self) -> float:
        """Wait until it has ended, returning its age then.

        Raises:
            UserError: If it failed.
        """
        self._wait(lambda: False)
        if self.process.returncode:
            last = next(filter(None, reversed(self.log.read_text().splitlines())), '')
            raise UserError(f'tools/train.py failed: {last} (see {relpath(self.log)})')
        return self.age

    def kill(self, moment: str, delay: float) -> float | None:
        """Kill it at a moment, returning its age then; None if it ended before."""
        if moment != 'starting':
            self.wait_for_begin()
        begin = time.monotonic()
        self._wait(lambda: time.monotonic() - begin >= delay)
        if moment == 'writing':
            self._wait(
                lambda: any(self.folder.glob(f'.*{PARTIAL}')), _POLL_SECONDS_WRITING
            )
        age = self.age
        self.process.kill()
        if self.process.wait() >= 0:
            self.wait_for_end()
            return None
        return age

    def _wait(
        self, is_time: Callable[[], bool], seconds: float = _POLL_SECONDS
    ) -> None:
        while self.process.poll() is None and not is_time():
            time.sleep(seconds)


def _logs(folder: Path) -> list[Path]:
    return sorted(folder.glob('life_*.txt'))


def _resumed_from(log: Path) -> str:
    match = _GOES_ON.search(log.read_text())
    return Path(match[1]).name if match else ''


def _print_table(kills: list[Kill]) -> None:
    table = Table('kill', 'while', 'after s', 'partly written', 'went on from')
    for number, kill in enumerate(kills, 1):
        table.add_row(
            str(number),
            kill.moment,
            f'{kill.seconds:.1f}',
            'yes' if kill.partial else '',
            kill.resumed_from or 'the start',
        )
    Console().print(table)


REPO = Path(__file__).resolve().parents[1]


def parse_args() -> tuple[argparse.Namespace, list[str]]:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog='All other options go to tools/train.py.'
    )
    parser.add_argument('config', help='config file')
    parser.add_argument('--kills', type=int, default=20, help='default: 20')
    parser.add_argument(
        '--seed', type=int, default=0, help='of the moments; default: 0'
    )
    parser.add_argument(
        '--out',
        type=Path,
        default=REPO / 'work_dirs' / 'kill_test',
        help='folder for the two runs',
    )
    return parser.parse_known_args()


def main() -> None:
    args, others = parse_args()
    compat.apply()
    check_resume(REPO, args.config, args.out, args.kills, args.seed, others)


if __name__ == '__main__':
    main_guard(main)
