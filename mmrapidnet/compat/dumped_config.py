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

import functools
from pathlib import Path
from typing import Any


def apply() -> None:
    """Let ``Runner.dump_config`` spare the config that was given."""
    from mmengine.runner import Runner

    _patch(Runner)


@functools.cache  # once
def _patch(runner: type) -> None:
    from mmengine.dist import master_only

    stock = runner.dump_config

    @master_only
    @functools.wraps(stock)
    def dump_config(self: Any) -> None:
        given = Path(self.cfg.filename or '')
        copy = Path(self.work_dir, given.name)
        if given.is_file() and copy.exists() and copy.samefile(given):
            self.cfg.dump(Path(self.log_dir, given.name))
        else:
            stock(self)

    runner.dump_config = dump_config
