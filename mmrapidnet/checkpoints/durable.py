"""Write files that are whole or absent, also if the process is killed on the way."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

# How a file is called until it is whole: `.iter_8.pth.partial` for `iter_8.pth`.
PARTIAL = '.partial'


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that its name never stands for a part of it.

    It is written under a temporary name, synced to the disk and renamed, and the
    folder is synced.  Killed at any moment, it leaves the file as it was before or
    as it is to be, and perhaps a temporary file; see `remove_leftovers`.

    Args:
        path: The file; its folder is made if it is missing.
        content: What it is to hold.

    Raises:
        OSError: If it cannot be written, such as on a full disk.  It names the file;
            nothing temporary is left behind.
    """
    partial = path.with_name(f'.{path.name}{PARTIAL}')
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(partial, 'wb') as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        with contextlib.suppress(OSError):
            partial.unlink()
    _sync_folder(path.parent)


def remove_leftovers(folder: Path) -> None:
    """Remove the temporary files that killed processes left in a folder.

    Args:
        folder: The folder, which no other process may be writing to.
    """
    for path in folder.glob(f'.*{PARTIAL}'):
        path.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Let a file's new name survive a power failure, too."""
    # Some network file systems cannot sync a folder.
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
