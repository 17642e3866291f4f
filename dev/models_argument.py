"""The models that a command is given: pairs of a config and its checkpoint."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from mmrapidnet.utils.errors import UserError


def add_models_argument(parser: argparse.ArgumentParser) -> None:
    """Add the argument ``models``, for `pair_models`.

    Args:
        parser: The parser to add to.
    """
    parser.add_argument(
        'models',
        nargs='+',
        metavar='CONFIG CHECKPOINT',
        help='config file and checkpoint of each model',
    )


def pair_models(words: Sequence[str]) -> list[tuple[str, str]]:
    """Pair each config with the checkpoint that comes after it.

    Args:
        words: Configs and checkpoints in turns.

    Returns:
        The pairs.

    Raises:
        UserError: If the last config has no checkpoint.

    Examples:
        >>> pair_models(['a.py', 'a.pth', 'b.py', 'b.pth'])
        [('a.py', 'a.pth'), ('b.py', 'b.pth')]
    """
    if len(words) % 2:
        raise UserError(f'{" ".join(words)}: give a checkpoint after each config')
    return list(zip(words[::2], words[1::2], strict=True))
