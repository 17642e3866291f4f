"""What a run needs to be killed at any moment and to end as if it had not been."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.logging import print_log

from mmrapidnet.checkpoints.latest import POINTER, find_latest
from mmrapidnet.config.load import add_import
from mmrapidnet.engine import loops
from mmrapidnet.engine.hooks import checkpoint
from mmrapidnet.utils.errors import UserError

# The value of `resume` that stands for the newest whole checkpoint.
AUTO = 'auto'
_LOOPS = {
    'IterBasedTrainLoop': loops.RepeatableIterLoop.__name__,
    'EpochBasedTrainLoop': loops.RepeatableEpochLoop.__name__,
}
_HOOK = checkpoint.DurableCheckpointHook.__name__
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def make_resumable(cfg: Config) -> None:
    """Put the repeatable loop and the durable checkpoints into a config.

    A config without a seed gets 0: mmengine would draw one, and a run that is killed
    before its first checkpoint would start as another run.  A train loop or hook for
    checkpoints of another type stays as it is, as does one that writes elsewhere than
    to this machine's files.

    Args:
        cfg: The config of a run, changed in place.
    """
    cfg.randomness = cfg.get('randomness') or {}
    if cfg.randomness.get('seed') is None:
        cfg.randomness.seed = 0
    loop = cfg.train_cfg
    if 'by_epoch' in loop:
        by_epoch = loop.pop('by_epoch')
        loop.type = 'EpochBasedTrainLoop' if by_epoch else 'IterBasedTrainLoop'
    if loop.type in _LOOPS:
        loop.type = _LOOPS[loop.type]
        add_import(cfg, loops.__name__)
    elif loop.type not in _LOOPS.values():
        _say(
            f'a killed run of a {loop.type} cannot be repeated exactly, only those of '
            f'{" and ".join(_LOOPS)}'
        )
    _make_checkpoints_atomic(cfg)


def find_start(cfg: Config) -> tuple[dict[str, Any], str] | None:
    """Let a run go on from its newest whole checkpoint, if it has one.

    Args:
        cfg: The config of a run, changed in place.

    Returns:
        The checkpoint's content and its path; None if there is none, in which case
        the run starts as the config says.
    """
    found = _find_latest(cfg)
    cfg.resume = found is not None
    if found is None:
        folder = _checkpoint_folder(cfg)
        _say(f'there is no whole checkpoint in {folder}: the run starts')
        return None
    cfg.load_from = found[1]
    _say(f'going on from {found[1]}')
    return found


def adopt_seed(cfg: Config, content: dict[str, Any]) -> None:
    """Let a run go on with the seed it was started with.

    mmengine takes it from the checkpoint as well, but after the order of the samples
    was drawn.

    Args:
        cfg: The config of a run, changed in place.
        content: The content of the checkpoint it goes on from.
    """
    seed = content['meta'].get('seed')
    if isinstance(seed, int) and seed != cfg.randomness.seed:
        _say(f"the seed is the checkpoint's, {seed}, not {cfg.randomness.seed}")
        cfg.randomness.seed = seed


@contextlib.contextmanager
def full_disk_in_one_line(cfg: Config) -> Iterator[None]:
    """Say in one line that the disk of a run is full, and what is safe.

    Args:
        cfg: The config of the run.

    Raises:
        UserError: If a file cannot be written because the disk or a quota is full.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise
        free = shutil.disk_usage(cfg.work_dir).free / 2**20
        _, good = _find_latest(cfg) or (None, 'none')
        raise UserError(
            f'{error.filename or "a file"} cannot be written: '
            f'{os.strerror(error.errno)}, {free:.0f} MB are free; last whole '
            f'checkpoint: {good}; make room, then go on with --resume auto'
        ) from error


def _make_checkpoints_atomic(cfg: Config) -> None:
    """Exchange the hook, if it is mmengine's own and writes to local files."""
    hooks = cfg.get('default_hooks') or {}
    hook = hooks.get('checkpoint', dict(type='CheckpointHook', interval=1))
    elsewhere = ('backend_args', 'file_client_args')
    if hook is None or hook['type'] == _HOOK:
        return
    if (
        hook['type'] != 'CheckpointHook'
        or any(hook.get(key) for key in elsewhere)
        or '://' in str(hook.get('out_dir'))
    ):
        _say(
            'a killed run may leave a checkpoint in part: only those are whole or '
            'absent that a CheckpointHook writes to files of this machine'
        )
        return
    kept = {key: hook[key] for key in hook if key not in elsewhere}
    cfg.default_hooks = {**hooks, 'checkpoint': {**kept, 'type': _HOOK}}
    add_import(cfg, checkpoint.__name__)


def _find_latest(cfg: Config) -> tuple[dict[str, Any], str] | None:
    hook = _checkpoint_hook(cfg)
    unit = 'epoch' if hook.get('by_epoch', True) else 'iter'
    template = hook.get('filename_tmpl') or unit + '_{}.pth'
    pointer = Path(cfg.work_dir) / POINTER
    return find_latest(_checkpoint_folder(cfg), template, pointer)


def _checkpoint_folder(cfg: Config) -> Path:
    """Where mmengine's hook writes to."""
    work_dir = Path(cfg.work_dir)
    out_dir = _checkpoint_hook(cfg).get('out_dir')
    if out_dir is None or Path(out_dir) == work_dir:
        return work_dir
    return Path(out_dir) / work_dir.name


def _checkpoint_hook(cfg: Config) -> dict[str, Any]:
    return (cfg.get('default_hooks') or {}).get('checkpoint') or {}


def _say(words: str) -> None:
    print_log(words, logger='current', level=logging.WARNING)
