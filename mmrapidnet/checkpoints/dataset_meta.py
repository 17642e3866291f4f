"""The names and colours of the classes that a checkpoint brings along."""

from __future__ import annotations

from typing import Any

import numpy as np

from mmrapidnet.utils.errors import UserError


def get_meta(content: dict[str, Any]) -> dict[str, Any]:
    """What a checkpoint tells beside its weights.

    Args:
        content: The content of the file.

    Returns:
        Its ``meta``; empty if it has none, or something else under that name.
    """
    meta = content.get('meta')
    return meta if isinstance(meta, dict) else {}


def get_labels(content: dict[str, Any], checkpoint: str) -> dict[str, Any]:
    """Find what a checkpoint tells of its classes.

    Args:
        content: The content of the file.
        checkpoint: The file's name, for the message.

    Returns:
        Its ``dataset_meta``, as of mmengine: with ``classes`` and ``palette`` if it
        has them.

    Raises:
        UserError: If the classes are no names or the palette is not of colours.
    """
    labels = get_meta(content).get('dataset_meta') or {}
    if not (
        isinstance(labels, dict)
        and all(isinstance(key, str) for key in labels)
        and is_names(labels.get('classes') or ())
        and is_palette(labels.get('palette'))
    ):
        raise _damaged(checkpoint, 'meta.dataset_meta')
    return labels


def get_old_labels(content: dict[str, Any], checkpoint: str) -> dict[str, Any]:
    """Find the same in a file of mmcv 1, in today's names and types.

    Args:
        content: The content of the file.
        checkpoint: The file's name, for the message.

    Returns:
        ``classes`` and ``palette``, each if the file has it.

    Raises:
        UserError: If the classes are no names or the palette is not of colours.
    """
    meta = get_meta(content)
    labels = {}
    if isinstance(meta.get('CLASSES'), (list, tuple)):
        labels['classes'] = [str(name) for name in meta['CLASSES']]
    if isinstance(meta.get('PALETTE'), (list, tuple)):
        if not is_palette(meta['PALETTE']):
            raise _damaged(checkpoint, 'meta.CLASSES, meta.PALETTE')
        labels['palette'] = [[int(v) for v in colour] for colour in meta['PALETTE']]
    return labels


def _damaged(checkpoint: str, place: str) -> UserError:
    return UserError(
        f'the labels in {checkpoint} ({place}) are damaged: expected the names of the '
        'classes and, for each, a colour of three numbers from 0 to 255'
    )


def is_names(names: Any) -> bool:
    """Whether something is a list of names."""
    return isinstance(names, (list, tuple)) and all(isinstance(n, str) for n in names)


def is_palette(palette: Any) -> bool:
    """Whether something is a list of colours, or says that there is none.

    Examples:
        >>> is_palette([(255, 0, 0)]), is_palette('random'), is_palette(['red'])
        (True, True, False)
    """
    if palette is None or isinstance(palette, str):
        return palette in (None, 'random')
    try:
        colours = np.asarray(palette)
    except ValueError:  # of different lengths
        return False
    if not colours.size:
        return True
    return bool(
        colours.dtype.kind in 'iuf'
        and colours.ndim == 2
        and colours.shape[1] == 3
        and colours.min() >= 0
        and colours.max() <= 255
    )
