"""Folders that are made, and what is in them."""

from __future__ import annotations

import os
from collections.abc import Collection
from fnmatch import fnmatchcase
from pathlib import Path

from mmrapidnet.utils.errors import UserError


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


def check_only(folder: Path, made: Collection[str]) -> None:
    """Raise if a folder holds something else than what was made in it.

    Args:
        folder: The folder.
        made: Names of all that was made in it, or patterns of them as of `fnmatch`.

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
