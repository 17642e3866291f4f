"""Folders that tools make anew: nothing is deleted but what they made themselves.

A marker in a folder says that a tool of this project made it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection
from pathlib import Path

from mmrapidnet.utils.errors import UserError
from mmrapidnet.utils.folders import check_only, make_folder

MARKER = '.made_by_mmrapidnet'
_SAYS = 'A tool of mmrapidnet made this folder and empties it when it runs again.\n'
# What tools/train.py and tools/test.py leave in a work dir, and a comparison.
OF_A_RUN = (
    '*.pth',
    '*.py',
    '*.partial',
    '[0-9]*_[0-9]*',
    'last_checkpoint',
    'metrics.json',
    'recipe',
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
