"""Runs without what takes seconds of each and is nothing that tests look at."""

import functools

from mmengine.config import config
from mmengine.runner import runner


def apply() -> None:
    """Describe the machine once, and write configs as they are, not in a style.

    Each run of mmengine asks compilers for their versions, and has yapf format its
    config for the log, for the copy beside it and for every checkpoint.
    """
    runner.collect_env = functools.cache(runner.collect_env)
    config.FormatCode = lambda text, **style: (text, True)
