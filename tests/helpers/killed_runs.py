"""Short runs in processes of their own, to be killed and resumed."""

import contextlib
import faulthandler
import io
import os
import resource
import signal
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.runner import Runner

from helpers import tiny_models
from helpers.forked import fork
from mmrapidnet.apis.cli import main_guard
from mmrapidnet.apis.train import train
from mmrapidnet.utils import atomic

ITERATIONS = 6
LAYOUTS = {'detector': 'coco', 'sam': 'coco', 'segmenter': 'ade'}


def load_short(kind: str, folder: Path, root: Path, **options) -> Config:
    """A run of a few iterations with a checkpoint after each, without validation."""
    cfg = tiny_models.load(kind, folder, root / LAYOUTS[kind])
    for part in ('datasets', 'engine', 'evaluation', 'models', 'visualization'):
        # Once, and not in every process.
        import_module(f'{cfg.default_scope}.{part}')
    cfg.update(val_cfg=None, val_dataloader=None, val_evaluator=None)
    cfg.merge_from_dict(
        {
            'train_cfg.max_iters': ITERATIONS,
            'default_hooks.checkpoint.interval': 1,
            'default_hooks.logger.interval': 1,
            'train_dataloader.batch_size': 2,
            'train_dataloader.num_workers': 0,
            'train_dataloader.persistent_workers': False,
            **options,
        }
    )
    return cfg


class KilledRun:
    """A run in a process of its own, with the modules that are loaded already.

    Args:
        cfg: The config; the work dir's log of it is ``life.txt``.
        prepare: What the process does first.
    """

    def __init__(self, cfg: Config, prepare: Callable[[], None] = lambda: None):
        self.work_dir = Path(cfg.work_dir)
        self.work_dir.mkdir(exist_ok=True)
        self.log = self.work_dir / 'life.txt'
        self.process = fork(self._live, cfg, prepare)

    def _live(self, cfg: Config, prepare: Callable[[], None]) -> None:
        # Loggers of earlier runs write to what was stdout then.
        MMLogger._instance_dict.clear()
        # Neither matters here, and both take longer than an iteration.
        Config.pretty_text = property(lambda self: '')
        Runner._log_env = lambda *args: None
        with (
            self.log.open('w', buffering=1) as log,
            contextlib.redirect_stdout(log),
            contextlib.redirect_stderr(log),
        ):
            faulthandler.enable(log)  # where native code ended it
            prepare()
            main_guard(lambda: train(cfg))

    def end(self) -> int:
        """Wait for the end, returning the exit code; -9 of a killed one."""
        self.process.join(300)
        return self.process.exitcode

    def finish(self) -> str:
        """Wait for an end without an error, returning what it printed."""
        code, text = self.end(), self.log.read_text()
        assert code == 0, text[-3000:]
        return text

    def kill_after(self, name: str, seconds: float) -> int:
        """Kill it some time after a file appears in the work dir."""
        while self.process.is_alive() and not (self.work_dir / name).exists():
            time.sleep(0.002)
        time.sleep(seconds)
        self.process.kill()
        return self.end()


def limit_files(size: int) -> None:
    """Let no file grow beyond a number of bytes: a disk that is full for large ones."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def kill_me() -> None:
    """Die as of ``kill -9``."""
    os.kill(os.getpid(), signal.SIGKILL)


def wait_at(name: str) -> Callable[[], None]:
    """Let a process wait to be killed where it would give a file its name.

    However fast it is, it is still there to be killed then.

    Args:
        name: The file's name.
    """
    replace = os.replace

    def wait_renaming(source, target):
        if Path(target).name == name:
            time.sleep(300)
        replace(source, target)

    def prepare() -> None:
        os.replace = wait_renaming

    return prepare


class _TornFile(io.FileIO):
    """A file that half of the first write reaches before the process dies."""

    def write(self, content: bytes) -> int:
        super().write(content[: len(content) // 2])
        kill_me()


def die_at(step: str, name: str) -> Callable[[], None]:
    """Let a process die while it writes a file.

    Args:
        step: 'write' (half of it is written), 'sync' (all of it), 'rename' (it is
            synced) or 'renamed' (all is done but what follows).
        name: The file's name.
    """
    replace, sync = os.replace, os.fsync

    def open_torn(path, mode):
        return _TornFile(path, mode) if name in str(path) else open(path, mode)

    def die_syncing(descriptor):
        if name in os.readlink(f'/proc/self/fd/{descriptor}'):
            kill_me()
        sync(descriptor)

    def die_renaming(source, target):
        if step == 'renamed':
            replace(source, target)
        if Path(target).name == name:
            kill_me()
        if step == 'rename':
            replace(source, target)

    def prepare() -> None:
        if step == 'write':
            atomic.open = open_torn
        elif step == 'sync':
            os.fsync = die_syncing
        else:
            os.replace = die_renaming

    return prepare
