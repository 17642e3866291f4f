"""Write checkpoints, whole or not at all."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mmrapidnet.checkpoints import safetensors_file
from mmrapidnet.utils.atomic import write_atomic
from mmrapidnet.utils.errors import UserError


def check_destination(src: Path, dst: Path) -> None:
    """Raise if a file cannot go there.

    Args:
        src: The file that is read.
        dst: The file that is to be written.

    Raises:
        UserError: If ``dst`` is a folder or ``src`` itself.
    """
    if dst.is_dir():
        raise UserError(f'{dst} is a folder: give the name of the file to write')
    if dst.exists() and src.exists() and dst.samefile(src):
        raise UserError(f'{dst} is the file that is read: give another name')


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal digits."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def write_checkpoint(dst: Path, state: dict[str, Tensor], meta: dict[str, Any]) -> None:
    """Write weights and what is to be known of them.

    Args:
        dst: The file: ``.safetensors`` in that format, any other as ``torch.save``
            does it.
        state: Name to tensor.
        meta: Of plain Python data.

    Raises:
        UserError: If it cannot be written; nothing is left behind then.
    """
    # Clones, because neither format keeps apart what shares memory.
    state = {
        name: value.detach().clone(memory_format=torch.contiguous_format)
        for name, value in state.items()
    }
    try:
        write_atomic(dst, _to_bytes(state, meta, dst.suffix))
    except OSError as error:
        raise UserError(f'{dst} cannot be written: {error.strerror}') from error


def _to_bytes(state: dict[str, Tensor], meta: dict[str, Any], suffix: str) -> bytes:
    if suffix == safetensors_file.SUFFIX:
        return safetensors_file.write(state, meta)
    content = io.BytesIO()
    torch.save(dict(state_dict=state, meta=meta), content)
    return content.getvalue()
