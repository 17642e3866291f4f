"""Checkpoints in the safetensors format: tensors, and the rest as JSON beside them."""

from __future__ import annotations

import json
from types import ModuleType
from typing import Any, BinaryIO

import torch

from mmrapidnet.utils.errors import UserError

SUFFIX = '.safetensors'
_META = 'mmrapidnet_meta'
# The format: the header's length in 8 bytes, the header in JSON, the tensors.
_LENGTH = 8
HEAD_BYTES = _LENGTH + 1


def is_safetensors(head: bytes) -> bool:
    """Whether a file that starts with these `HEAD_BYTES` is in this format."""
    return head[_LENGTH:] == b'{'


def read(file: BinaryIO, map_location: Any = 'cpu') -> dict[str, Any]:
    """Read a checkpoint.

    Args:
        file: The open file.
        map_location: The device of the tensors, as for ``torch.load``; a function or
            a mapping of devices leaves them on the CPU. Default: ``'cpu'``.

    Returns:
        What `write` was given; of a file that another program wrote, the tensors by
        name.

    Raises:
        UserError: If safetensors is not installed.
        ValueError: If the file is damaged.
    """
    library = _require_library()
    data = file.read()
    try:
        tensors = library.load(data)
    except Exception as error:
        raise ValueError(str(error)) from error
    if isinstance(map_location, (str, torch.device)):
        tensors = {name: value.to(map_location) for name, value in tensors.items()}
    end = _LENGTH + int.from_bytes(data[:_LENGTH], 'little')
    metadata = json.loads(data[_LENGTH:end]).get('__metadata__', {})
    if _META not in metadata:
        return tensors
    return dict(state_dict=tensors, meta=json.loads(metadata[_META]))


def write(state_dict: dict[str, torch.Tensor], meta: dict[str, Any]) -> bytes:
    """Encode a checkpoint.

    Args:
        state_dict: The tensors, none of which share memory.
        meta: What else is to be kept, of plain Python data.

    Returns:
        The content of a file.

    Raises:
        UserError: If safetensors is not installed.
    """
    # 'format' is what other programs look for.
    metadata = {'format': 'pt', _META: json.dumps(meta)}
    return _require_library().save(state_dict, metadata)


def _require_library() -> ModuleType:
    try:
        import safetensors.torch
    except ImportError as error:
        raise UserError(
            f'{SUFFIX} files need safetensors, which is not installed: '
            'pip install safetensors'
        ) from error
    return safetensors.torch
