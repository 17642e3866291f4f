"""Write files that are whole or absent, one alone or several that belong together."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mmrapidnet.utils.errors import UserError

# How a file is called until it is whole: `.iter_8.pth.partial` for `iter_8.pth`.
PARTIAL = '.partial'


def write_atomic(path: Path, content: bytes) -> None:
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


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """Give a folder to write to, which takes its name when all is written.

    If anything fails, an interruption included, nothing is left of it.  Its many files
    are not synced to the disk one by one: they can be made again.

    Args:
        folder: What it is to be called; by the end there must be no such folder, or an
            empty one.  Those above it are made if they are missing.

    Yields:
        The folder under a temporary name, beside where it is to be.

    Raises:
        OSError: If it cannot be made or named.

    Examples:
        >>> with tempfile.TemporaryDirectory() as place:
        ...     with new_folder(Path(place) / 'new') as folder:
        ...         _ = (folder / 'a.txt').write_text('whole')
        ...     (Path(place) / 'new' / 'a.txt').read_text()
        'whole'
    """
    partial = folder.with_name(f'.{folder.name}.{os.getpid()}{PARTIAL}')
    try:
        partial.mkdir(parents=True)
        yield partial
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


@contextmanager
def replace_atomic(out: Path) -> Iterator[Path]:
    """Give a temporary path; what is written there, and beside it, is moved at the end.

    If anything fails, an interruption included, nothing is left of it, and what was
    in its place before is there again.  A process that is killed leaves the old files,
    the new ones or, within the few renames that exchange several of them, no file
    called ``out``; the old and the new ones are then in a folder ``.export-*`` near it.
    Never does a new file stand under its name beside an old one.

    Args:
        out: The file, or folder, to write, without which the others beside it are of
            no use.

    Yields:
        A path of the same name on the same file system.

    Raises:
        UserError: If it cannot be written there.
    """
    nearest = next(folder for folder in out.absolute().parents if folder.is_dir())
    with _needs_writing(out):
        temporary = tempfile.TemporaryDirectory(dir=nearest, prefix='.export-')
    with temporary as folder:
        staged = Path(folder) / 'new'
        staged.mkdir()
        yield staged / out.name
        with _needs_writing(out):
            _exchange(staged, Path(folder) / 'old', out)


@contextmanager
def _needs_writing(out: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(f'{out} cannot be written: {error}') from error


def _exchange(staged: Path, replaced: Path, out: Path) -> None:
    """Move what is staged to where ``out`` is, and what was there away."""
    parts = sorted(path.name for path in staged.iterdir() if path.name != out.name)
    for name in (*parts, out.name):
        place = out.parent / name
        if place.exists() and place.is_dir() != (staged / name).is_dir():
            kind = 'folder' if place.is_dir() else 'file'
            raise UserError(f'{place} is a {kind}, which would be lost: move it away')
    # On the disk before they get their names.
    for path in staged.rglob('*'):
        if path.is_file():
            with path.open('rb') as file:
                os.fsync(file.fileno())
    out.parent.mkdir(parents=True, exist_ok=True)
    replaced.mkdir()
    try:
        # The main file goes first and comes last, so that whoever finds it finds
        # the parts that belong to it.
        if parts or out.is_dir():
            _move(out, replaced)
        for name in parts:
            _move(out.parent / name, replaced)
            _move(staged / name, out.parent)
        _move(staged / out.name, out.parent)
    except BaseException:
        _restore(staged, replaced, out, parts)
        raise


def _restore(staged: Path, replaced: Path, out: Path, parts: list[str]) -> None:
    """Put back what `_exchange` moved, by what is found where, unless all is done."""
    if not (staged / out.name).exists():
        return
    for name in parts:
        if not (staged / name).exists():
            _move(out.parent / name, staged)
        _move(replaced / name, out.parent)
    _move(replaced / out.name, out.parent)


def _move(path: Path, folder: Path) -> None:
    """Move a file or folder, if it exists, into a folder of the same file system."""
    if path.exists():
        os.replace(path, folder / path.name)
