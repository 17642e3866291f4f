"""A training and the test of what it gives, run once.

Both are commands that the user can type as well; they are printed before they run.  A
run that is complete is not repeated, and one that was interrupted goes on from its last
checkpoint.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from mmengine.config import Config

from dev.folders import OF_A_RUN, renew_folder
from dev.subprocess_steps import last_checkpoint, print_now, relpath, run_tool
from mmrapidnet.config.load import load_config
from mmrapidnet.utils.errors import UserError

LEAST_ITERS = 2
# How often a shortened run logs, and writes a checkpoint.
_LOGGED = 20
# In the folder of a run: a digest of all that it depends on.
_RECIPE = 'recipe'


@dataclass(frozen=True)
class Run:
    """What to train, on what, for how long.

    Attributes:
        config: The config.
        data_root: The data set, as the config reads it.
        folder: Where the training's files go; those of the test go beside them, to a
            folder of the same name with _test.
        seed: Of weights, order and augmentation.
        iters: Iterations instead of the config's own. Defaults to None.
        arguments: What else tools/train.py is called with. Defaults to nothing.
        settings: Settings to override in the training, as 'key=value'. Defaults to
            none.
        pretrained: Weights that the backbone starts from. Defaults to None.
        learns_from: Weights of a teacher. Defaults to None. A run is complete only if
            it is newer than either.
    """

    config: Path
    data_root: Path
    folder: Path
    seed: int
    iters: int | None = None
    arguments: tuple[str | Path, ...] = ()
    settings: tuple[str, ...] = ()
    pretrained: Path | None = None
    learns_from: Path | None = None

    @property
    def test_folder(self) -> Path:
        """Where the files of the test go."""
        return self.folder.with_name(f'{self.folder.name}_test')

    @property
    def checkpoint(self) -> Path:
        """The last checkpoint, once there is one."""
        return last_checkpoint(self.folder)

    def metrics(self, split: str = 'test') -> dict[str, float]:
        """What was measured, once the run is complete.

        Args:
            split: 'test' for the test, 'val' for the validation that ended the
                training. Defaults to 'test'.

        Returns:
            The metrics by name.
        """
        folders = dict(test=self.test_folder, val=self.folder)
        return _read(folders[split])['metrics']

    def class_ious(self) -> dict[str, float]:
        """The IoU of each class that the test measured, in percent."""
        return {c['class']: c['IoU'] for c in _read(self.test_folder)['per_class']}


def train_and_test(run: Run, repo: Path) -> None:
    """Train and test, unless that is done already.

    Args:
        run: What to do.
        repo: The repository, with ``tools/``.

    Raises:
        UserError: If a step fails, or the folder holds a run of another length.
    """
    cfg = load_config(str(run.config))
    if _is_complete(run):
        found = _read(run.folder)['iter']
        wanted = run.iters or cfg.train_cfg.max_iters
        if found != wanted:
            raise UserError(
                f'{relpath(run.folder)} is a run of {found} iterations, not of '
                f'{wanted}: give another --out or delete the folder'
            )
        print_now(f'  {relpath(run.folder)} is complete: not repeated')
        return
    data = ('--data-root', run.data_root, '--work-dir')
    start = ('--pretrained', run.pretrained) if run.pretrained else ()
    options = (*start, *run.arguments, '--cfg-options')
    settings = [f'randomness.seed={run.seed}', *run.settings]
    settings += shorten_schedule(cfg, run.iters)
    training = [run.config, *data, run.folder, *options, *settings]
    renew_folder(run.test_folder, OF_A_RUN)
    resume = () if _start_anew(run, cfg, training) else ('--resume', 'auto')
    run_tool(
        repo / 'tools' / 'train.py',
        [training[0], *resume, *training[1:]],
        run.folder.with_name(f'{run.folder.name}.log'),
    )
    run_tool(
        repo / 'tools' / 'test.py',
        [run.config, run.checkpoint, *data, run.test_folder],
        run.test_folder.with_name(f'{run.test_folder.name}.log'),
    )


def add_run_arguments(parser: argparse.ArgumentParser, out: Path, seeds: str) -> None:
    """Add what a command line says of the runs of a comparison.

    Args:
        parser: The parser of the command line.
        out: The default folder.
        seeds: What the help says of the default seeds.
    """
    parser.add_argument(
        '--out',
        type=Path,
        default=out,
        help='folder for runs and tables; runs that are complete there are kept',
    )
    parser.add_argument(
        '--seeds', type=int, nargs='+', help=f'one per run (default: {seeds})'
    )
    parser.add_argument(
        '--iters',
        type=int,
        help="iterations of every training, instead of the configs' own",
    )


def check_iters(iters: int | None, option: str = '--iters') -> None:
    """Raise UserError for a length that is too short to log anything."""
    if iters is not None and iters < LEAST_ITERS:
        raise UserError(f'{option} {iters}: give at least {LEAST_ITERS}')


def check_distinct(option: str, values: Sequence[object], least: int) -> None:
    """Raise UserError unless an option has values enough, all different."""
    if len(values) < least or len(set(values)) != len(values):
        given = ' '.join(map(str, values))
        raise UserError(f'{option} {given}: give at least {least}, each once')


def length_of(run: Run) -> int:
    """The iterations of a run's training."""
    return run.iters or load_config(str(run.config)).train_cfg.max_iters


def _is_complete(run: Run) -> bool:
    record = run.test_folder / 'metrics.json'
    if not record.is_file():
        return False
    return all(time <= record.stat().st_mtime for time in _source_times(run))


def _source_times(run: Run) -> list[float]:
    """When the weights that a run depends on were written."""
    sources = [path for path in (run.pretrained, run.learns_from) if path]
    return [path.stat().st_mtime for path in sources]


def _start_anew(run: Run, cfg: Config, training: Sequence[str | Path]) -> bool:
    """Empty the folder of a training, unless it holds a part of the very same one."""
    depends = [cfg.to_dict(), training, _source_times(run)]
    recipe = sha256(json.dumps(depends, default=str).encode()).hexdigest()
    record = run.folder / _RECIPE
    if record.is_file() and record.read_text() == recipe:
        return False
    renew_folder(run.folder, OF_A_RUN)
    record.write_text(recipe)
    return True


def _read(work_dir: Path) -> dict[str, Any]:
    return json.loads((work_dir / 'metrics.json').read_text())


def shorten_schedule(cfg: Config, iters: int | None) -> list[str]:
    """The settings for another length: the schedule in proportion.

    Args:
        cfg: A config of a comparison, counted in iterations: warm-up, then decay.
        iters: The length; None for the config's own.

    Returns:
        What to give ``--cfg-options``; empty for the config's own length.
    """
    if iters is None:
        return []
    warm_up = cfg.param_scheduler[0].end * iters // cfg.train_cfg.max_iters
    warm_up = max(1, warm_up)
    interval = max(1, iters // _LOGGED)
    return [
        f'train_cfg.max_iters={iters}',
        f'train_cfg.val_interval={iters}',
        f'param_scheduler.0.end={warm_up}',
        f'param_scheduler.1.begin={warm_up}',
        f'param_scheduler.1.end={iters}',
        f'default_hooks.checkpoint.interval={interval}',
        f'default_hooks.logger.interval={interval}',
        f'log_processor.window_size={interval}',
    ]
