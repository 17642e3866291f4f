"""Load checkpoints as data: nothing stored in one is ever executed.

Archives are held to `.zip_records` before, exactly the names in
`.allowed_globals` are unpickled, what was loaded is held to `.plain_data`,
and the config text inside is made inert by `.config_text`.  Files in the
safetensors format are read, too.
"""

import contextlib
import os
import re
from collections.abc import Iterator
from typing import Any, BinaryIO

import torch

from mmrapidnet.checkpoints import safetensors_file
from mmrapidnet.checkpoints.safe_load import (
    config_text,
    plain_data,
    unpickler,
    zip_records,
)
from mmrapidnet.checkpoints.safe_load.allowed_globals import allowed_globals
from mmrapidnet.utils.errors import UserError, sanitize

# Whether ``safe_globals`` takes (object, name) pairs.
TORCH_KNOWS_STAND_INS = torch.__version__ >= (2, 6)


def load(path: str | os.PathLike, map_location: Any = 'cpu') -> dict:
    """Load a checkpoint file, executing nothing of it.

    Args:
        path: The file, as ``torch.save``, mmengine or mmcv wrote it, or in the
            safetensors format.
        map_location: As for ``torch.load``. Default: ``'cpu'``.

    Returns:
        What the file holds; config text in it is reduced to literals.

    Raises:
        UserError: If there is no such file, it is truncated or no checkpoint,
            holds something other than data, or is not a dict.
    """
    if not os.path.isfile(path):
        raise UserError(f'checkpoint {path} does not exist: check the path')
    with open(path, 'rb') as file:
        return load_stream(file, str(path), map_location)


def load_url(
    url: str,
    model_dir: str | None = None,
    map_location: Any = 'cpu',
    progress: bool = True,
) -> dict:
    """Load a checkpoint from the web, downloading it once.

    Args:
        url: Where the file is.
        model_dir: Folder for the download. Default: that of ``torch.hub``.
        map_location: As for ``torch.load``. Default: ``'cpu'``.
        progress: Whether to show the progress of the download.

    Returns:
        As `load`.

    Raises:
        UserError: As `load`.
    """
    folder = model_dir or os.path.join(torch.hub.get_dir(), 'checkpoints')
    os.makedirs(folder, exist_ok=True)
    path = os.path.join(folder, os.path.basename(url.partition('?')[0]))
    if not os.path.exists(path):
        torch.hub.download_url_to_file(url, path, progress=progress)
    return load(path, map_location)


def load_stream(file: BinaryIO, name: str, map_location: Any) -> dict:
    """Load a checkpoint from an open file.

    Args:
        file: The file, opened for reading bytes.
        name: What it is called, for messages.
        map_location: As for ``torch.load``; None for the CPU.

    Returns:
        As `load`.

    Raises:
        UserError: As `load`.
    """
    try:
        checkpoint = _read(file, map_location or 'cpu')
        config_text.make_inert(checkpoint)
    except (torch.cuda.OutOfMemoryError, UserError):
        raise
    # A damaged or malicious file makes the unpickler fail in any way whatever.
    except Exception as error:
        raise UserError(_explain(name, error)) from error
    if not isinstance(checkpoint, dict):
        kind = type(checkpoint).__name__
        raise UserError(f'checkpoint {name} holds a {kind}, not a dict of weights')
    return checkpoint


def _read(file: BinaryIO, map_location: Any) -> Any:
    start = file.tell()
    head = file.read(safetensors_file.HEAD_BYTES)
    file_bytes = file.seek(0, os.SEEK_END) - start
    file.seek(start)
    if safetensors_file.is_safetensors(head):
        content = safetensors_file.read(file, map_location)
    else:
        if head.startswith(zip_records.MAGIC):
            zip_records.check(file, file_bytes)
        content = _unpickle(file, map_location)
    plain_data.check(content, file_bytes, meta=str(map_location) == 'meta')
    return content


def _unpickle(file: BinaryIO, map_location: Any) -> Any:
    if not TORCH_KNOWS_STAND_INS:
        return unpickler.load(file, map_location)
    stand_ins = [(item, name) for name, item in allowed_globals().items()]
    with _allowing_only(stand_ins):
        return torch.load(file, map_location=map_location, weights_only=True)


@contextlib.contextmanager
def _allowing_only(names: list[tuple[Any, str]]) -> Iterator[None]:
    """Put names in the place of all that are allowed to files by others.

    The fork's mmengine allows ``builtins.getattr`` itself, and not a stand-in for it,
    while it loads.
    """
    others = torch.serialization.get_safe_globals()
    torch.serialization.clear_safe_globals()
    try:
        with torch.serialization.safe_globals(names):
            yield
    finally:
        torch.serialization.add_safe_globals(others)


def _explain(name: str, error: Exception) -> str:
    refused = re.search(r'GLOBAL (\S+)', str(error))
    if refused or re.search('unrecognized function|a call of', str(error)):
        what = sanitize(refused.group(1)) if refused else 'a call'
        return (
            f'checkpoint {name} holds {what}, which is not data and might run code, '
            'so it is not loaded: ask for a file with the weights alone'
        )
    # torch wraps its reason in advice to load without restrictions.
    reason = str(error).rpartition('WeightsUnpickler error:')[2].strip()
    sentence = re.split(r'\n|\. ', reason)[0]
    return (
        f'checkpoint {name} is truncated or not a checkpoint '
        f'({type(error).__name__}: {sanitize(sentence)}): copy it again'
    )
