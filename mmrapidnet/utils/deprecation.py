"""Old names of modules and hooks, which go on working and name the new one."""

from __future__ import annotations

import warnings


def warn_renamed(old: str, new: str) -> None:
    """Warn that something has another name now.

    Args:
        old: The name that was used.
        new: The name to use.
    """
    warnings.warn(f'{old} is called {new} now', FutureWarning, stacklevel=3)
