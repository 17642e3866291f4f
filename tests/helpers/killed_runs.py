"""Short runs in processes of their own, to be killed and resumed."""

import contextlib
import faulthandler
import functools
import io
import multiprocessing
import os
import resource
import signal
import sys
import time
from collections.abc import Callable
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext
from pathlib import Path
from unittest import mock

from mmengine.config import Config
from mmengine.runner import Runner
from mmengine.utils import import_modules_from_strings

from helpers import tiny_models
from mmrapidnet.apis.cli import main_guard
from mmrapidnet.apis.train import train
from mmrapidnet.utils import atomic

ITERATIONS = 6
LAYOUTS = {'detector': 'coco', 'sam': 'coco', 'segmenter': 'ade'}


def load_short(kind: str, folder: Path, root: Path, **options) -> Config:
    """A run of a few iterations with a checkpoint after each, without validation."""
    cfg = tiny_models.load(kind, folder, root / LAYOUTS[kind])
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


@functools.cache
def _fresh() -> ForkServerContext:
    """Makes processes that have imported the libraries, and in which nothing has run.

    Forks of the process of a test, in which runtimes of exported files have run, were
    seen to end by a segmentation fault once they start workers of their own.
    """
    context = multiprocessing.get_context('forkserver')
    context.set_forkserver_preload(['helpers.preloaded'])
    with mock.patch.dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path)):
        forkserver.ensure_running()
    return context


class KilledRun:
    """A run in a process of its own, with the libraries that are loaded already.

    Args:
        cfg: The config; the work dir's log of it is ``life.txt``.
        prepare: What the process does first, a function of this module.
        *arguments: Those of the function.
    """

    def __init__(
        self, cfg: Config, prepare: Callable[..., None] | None = None, *arguments
    ):
        self.work_dir = Path(cfg.work_dir)
        self.work_dir.mkdir(exist_ok=True)
        self.log = self.work_dir / 'life.txt'
        self.process = _fresh().Process(
            target=_live, args=(self.log, cfg, prepare, arguments)
        )
        self.process.start()

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


def _live(
    log: Path, cfg: Config, prepare: Callable[..., None] | None, arguments: tuple
) -> None:
    import_modules_from_strings(**cfg.custom_imports)
    # Neither matters here, and both take longer than an iteration.
    Config.pretty_text = property(lambda self: '')
    Runner._log_env = lambda *args: None
    with (
        log.open('w', buffering=1) as file,
        contextlib.redirect_stdout(file),
        contextlib.redirect_stderr(file),
    ):
        faulthandler.enable(file)  # where native code ended it
        if prepare:
            prepare(*arguments)
        main_guard(functools.partial(train, cfg))


def limit_files(size: int) -> None:
    """Let no file grow beyond a number of bytes: a disk that is full for large ones."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def kill_me() -> None:
    """Die as of ``kill -9``."""
    os.kill(os.getpid(), signal.SIGKILL)


def wait_at(name: str) -> None:
    """Wait to be killed where a file would be given its name.

    However fast the process is, it is still there to be killed then.

    Args:
        name: The file's name.
    """
    replace = os.replace

    def wait_renaming(source, target):
        if Path(target).name == name:
            time.sleep(300)
        replace(source, target)

    os.replace = wait_renaming


class _TornFile(io.FileIO):
    """A file that half of the first write reaches before the process dies."""

    def write(self, content: bytes) -> int:
        super().write(content[: len(content) // 2])
        kill_me()


def die_at(step: str, name: str) -> None:
    """Die while a file is written.

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

    if step == 'write':
        atomic.open = open_torn
    elif step == 'sync':
        os.fsync = die_syncing
    else:
        os.replace = die_renaming
