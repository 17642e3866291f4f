"""Keeps a run's copy of its config from replacing the file that was given.

Reason:
    A runner writes its config, with what the command line changed, into the work dir
    under the name of the config file. Where that file itself lies in the work dir, or
    a link to it, it is overwritten: a config of one's own beside its runs, or what the
    training wrote, when it is tested with other settings.

Condition:
    None: no release does otherwise.

What it does:
    The copy then goes beside the run's log, into the folder with the time of the run.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from mmrapidnet.compat.patching import wrap


def apply() -> None:
    """Let ``Runner.dump_config`` spare the config that was given."""
    from mmengine.runner import Runner

    wrap(Runner, 'dump_config', _dump_config)


def _dump_config(stock: Callable[[Any], None], runner: Any) -> None:
    from mmengine.dist import is_main_process

    given = Path(runner.cfg.filename or '')
    copy = Path(runner.work_dir, given.name)
    if not (given.is_file() and copy.exists() and copy.samefile(given)):
        stock(runner)
    elif is_main_process():
        runner.cfg.dump(Path(runner.log_dir, given.name))
