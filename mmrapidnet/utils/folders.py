"""Folders that tools make anew: nothing is deleted but what they made themselves.

A marker in a folder says that a tool of this project made it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection
from fnmatch import fnmatchcase
from pathlib import Path

from mmrapidnet.utils.errors import UserError

MARKER = '.made_by_mmrapidnet'
_SAYS = 'A tool of mmrapidnet made this folder and empties it when it runs again.\n'
# What tools/train.py and tools/test.py leave in a work dir.
OF_A_RUN = (
    '*.pth',
    '*.py',
    '*.partial',
    '[0-9]*_[0-9]*',
    'last_checkpoint',
    'metrics.json',
    'confusion_matrix.*',
)


def renew_folder(folder: Path, made: Collection[str]) -> None:
    """Make an empty folder, in the place of what an earlier call left there.

    Args:
        folder: The folder.
        made: Names of all that is made in it, or patterns of them as of `fnmatch`.

    Raises:
        UserError: As `check_renewable`, or if it cannot be made.
    """
    check_renewable(folder, made)
    make_folder(folder)
    try:
        (folder / MARKER).write_text(_SAYS)
        # Not the folder itself: it may be a link, a mount, or where the user stands.
        for path in folder.iterdir():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            elif path.name != MARKER:
                path.unlink()
    except OSError as error:
        raise UserError(f'{folder} cannot be made anew: {error}') from error


def make_folder(folder: Path) -> None:
    """Make a folder, and those above it, if it is not there.

    Args:
        folder: The folder.

    Raises:
        UserError: If it cannot be made, such as where a file is in its place.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f'the folder {folder} cannot be made: {error}') from error


def check_renewable(folder: Path, made: Collection[str]) -> None:
    """Raise unless a folder can be made anew without losing what is not ours.

    Args:
        folder: The folder, which need not exist.
        made: As for `renew_folder`.

    Raises:
        UserError: If it is a file, or holds anything but was not made here, or also
            holds something else.
    """
    if not os.path.lexists(folder):
        return
    if not folder.is_dir():
        raise UserError(f'{folder} is not a folder: give another one')
    if any(folder.iterdir()) and not (folder / MARKER).is_file():
        raise UserError(
            f'{folder} is not emptied because it was not made by this tool (it has no '
            f'{MARKER}): give a folder that does not exist or is empty'
        )
    check_only(folder, [*made, MARKER])


def check_only(folder: Path, made: Collection[str]) -> None:
    """Raise if a folder holds something else than what was made in it.

    Args:
        folder: The folder.
        made: As for `renew_folder`.

    Raises:
        UserError: If so, naming the first few.
    """
    others = sorted(
        name
        for name in os.listdir(folder)
        if not any(fnmatchcase(name, pattern) for pattern in made)
    )
    if others:
        more = f' and {len(others) - 3} more' if len(others) > 3 else ''
        raise UserError(
            f'{folder} is not overwritten because it also holds '
            f'{others[:3]}{more}: move them away or give another folder'
        )
