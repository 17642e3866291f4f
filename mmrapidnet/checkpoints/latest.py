"""Find the checkpoint from which an interrupted run goes on."""

from __future__ import annotations

import logging
import re
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

from mmengine.logging import print_log

from mmrapidnet.checkpoints.fused import refuse_fused
from mmrapidnet.checkpoints.state_dict import read_checkpoint
from mmrapidnet.utils.errors import UserError

# Where mmengine notes the newest checkpoint, in the work dir.
POINTER = 'last_checkpoint'


class _Candidate(NamedTuple):
    written: int
    step: int
    path: Path


def find_latest(
    folder: Path, template: str, pointer: Path
) -> tuple[dict[str, Any], str] | None:
    """Find the newest whole checkpoint of a run, and read it.

    The pointer is believed as long as its checkpoint is there, but for checkpoints
    that are both further and newer: a run killed after writing one had no time to note
    it.  What is further but older is of an earlier run in the same folder.  Without a
    pointer the newest files come first.  What is not whole is passed over, with a
    warning.

    Args:
        folder: Where the run's checkpoints are.
        template: How they are called, such as ``'iter_{}.pth'`` or
            ``'epoch_{:03d}.pth'``.
        pointer: The file that notes the newest, if it is there.

    Returns:
        The checkpoint's content and its path; None if there is none.
    """
    for candidate in _order(_list_candidates(folder, template), _read_pointer(pointer)):
        path = str(candidate.path)
        try:
            return read_run(path), path
        except UserError as error:
            print_log(
                f'{error}; passed over, looking for the checkpoint before it',
                logger='current',
                level=logging.WARNING,
            )
    return None


def read_run(path: str) -> dict[str, Any]:
    """Read a checkpoint that a run can go on from.

    Args:
        path: The file, or a URL.

    Returns:
        Its content.

    Raises:
        UserError: If it cannot be read, is damaged, is of a fused model, or does not
            hold the state of a run.
    """
    _check_sums(path)
    content = read_checkpoint(path)
    refuse_fused(content, path)
    if not {'optimizer', 'meta', 'message_hub'} <= set(content):
        raise UserError(
            f'{path} cannot be resumed: it holds weights but not the state of a run; '
            f'start from its weights with --cfg-options load_from={path}'
        )
    return content


def _check_sums(path: str) -> None:
    """Compare the bytes with their check sums, which PyTorch writes but never reads.

    A disk that lost power may give back zeros in the middle of a file.
    """
    if not (Path(path).is_file() and zipfile.is_zipfile(path)):
        return
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
    except (zipfile.BadZipFile, NotImplementedError, EOFError, OSError) as error:
        raise UserError(f'checkpoint {path} is damaged: {error}') from error
    if damaged:
        raise UserError(f'checkpoint {path} is damaged: {damaged} fails its check sum')


def _list_candidates(folder: Path, template: str) -> list[_Candidate]:
    candidates = [
        _Candidate(path.stat().st_mtime_ns, step, path)
        for path in folder.glob('*')
        if (step := _read_step(path.name, template)) is not None
    ]
    return sorted(candidates, reverse=True)


def _read_step(name: str, template: str) -> int | None:
    """The number in a name for which the template gives that very name."""
    numbers = (int(re.sub('[,_]', '', n)) for n in re.findall(r'\d[\d,_]*', name))
    return next((step for step in numbers if template.format(step) == name), None)


def _read_pointer(pointer: Path) -> str:
    """The name, without the folder, which may have moved."""
    if not pointer.is_file():
        return ''
    return Path(pointer.read_text(errors='replace').strip()).name


def _order(candidates: list[_Candidate], noted: str) -> list[_Candidate]:
    pointed = [one for one in candidates if one.path.name == noted]
    newer = [
        one
        for one in candidates
        for other in pointed
        if one.written > other.written and one.step > other.step
    ]
    return list(dict.fromkeys([*newer, *pointed, *candidates]))
