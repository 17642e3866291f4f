"""Put finished files into their place, all of them or none."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mmrapidnet.errors import UserError


@contextmanager
def in_place_of(out: Path) -> Iterator[Path]:
    """Give a temporary path; what is written there, and beside it, is moved at the end.

    If anything fails, an interruption included, nothing is left of it, and what was
    in its place before is untouched.

    Args:
        out: The file, or folder, to write.

    Yields:
        A path of the same name on the same file system.

    Raises:
        UserError: If it cannot be written there.
    """
    nearest = next(folder for folder in out.absolute().parents if folder.is_dir())
    with _needs_writing(out):
        temporary = tempfile.TemporaryDirectory(dir=nearest, prefix='.export-')
    with temporary as folder:
        yield Path(folder) / out.name
        with _needs_writing(out):
            _move(list(Path(folder).iterdir()), out.parent, Path(folder) / 'replaced')


@contextmanager
def _needs_writing(out: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(f'{out} cannot be written: {error}') from error


def _move(written: list[Path], target: Path, replaced: Path) -> None:
    for path in written:
        place = target / path.name
        if place.exists() and place.is_dir() != path.is_dir():
            kind = 'folder' if place.is_dir() else 'file'
            raise UserError(f'{place} is a {kind}, which would be lost: move it away')
    target.mkdir(parents=True, exist_ok=True)
    replaced.mkdir()
    for path in written:
        place = target / path.name
        if place.is_dir():  # no folder takes the place of another that is not empty
            os.replace(place, replaced / path.name)
        os.replace(path, place)
