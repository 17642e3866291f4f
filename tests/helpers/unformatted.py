"""Copies of configs without yapf, which lays each of them out for half a second."""

from mmengine.config import config


def leave_configs_unformatted() -> None:
    """Let `Config.pretty_text` be the same Python in longer lines, in this process."""
    config.FormatCode = lambda text, **style: (text, True)
