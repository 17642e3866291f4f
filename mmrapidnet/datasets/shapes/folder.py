"""A drawn data set as a folder that is whole or not there.

A marker in the folder says how it was drawn, so that the same is not drawn twice, and
nothing is ever deleted that was not drawn here.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from rich.progress import track

from mmrapidnet.utils.atomic import new_folder
from mmrapidnet.utils.errors import UserError
from mmrapidnet.utils.folders import check_only

MARKER = 'shapes.json'
MIN_SIZE = 64
MAX_SIZE = 4096
SPLITS = ('train', 'val')


def write_folder(
    root: str | os.PathLike,
    parameters: dict[str, Any],
    write_split: Callable[..., dict[str, Any]],
    contents: Collection[str],
    overwrite: bool = False,
    progress: bool = False,
) -> dict[str, dict[str, Any]]:
    """Write a data set, or keep it where it is already complete.

    It appears under ``root`` at once when all of it is written.

    Args:
        root: Folder to write to; it must not exist, be empty or hold Shapes.
        parameters: What the data set depends on: ``splits`` (name to number of
            images), ``image_size``, ``seed`` and whatever else JSON can hold.
        write_split: Writes a split and returns its statistics, given the folder of
            the data set, the split's name, the indices of its images and
            ``parameters``.
        contents: Names of all that it writes there.
        overwrite: Replace Shapes made with other parameters.
        progress: Show a progress bar.

    Returns:
        For each split its statistics.

    Raises:
        UserError: A parameter is out of range, or ``root`` holds something else,
            or Shapes with other parameters, or cannot be written.
    """
    _check(parameters)
    root = Path(root).resolve()
    found = _read_marker(root)
    if found:
        if found['parameters'] == parameters:
            return found['statistics']
        if not overwrite:
            raise UserError(
                f'{root} holds Shapes made with {found["parameters"]}, not with '
                f'{parameters}: give another folder, or ask to overwrite it'
            )
        check_only(root, [*contents, MARKER])
    try:
        with new_folder(root) as partial:
            statistics = {}
            for split, count in parameters['splits'].items():
                images = track(range(count), f'Shapes, {split}', disable=not progress)
                statistics[split] = write_split(partial, split, images, parameters)
            marker = {'parameters': parameters, 'statistics': statistics}
            (partial / MARKER).write_text(json.dumps(marker, indent=2) + '\n')
            if found:
                shutil.rmtree(root)
    except OSError as error:
        raise UserError(f'cannot write Shapes to {root}: {error}') from error
    return statistics


def _check(parameters: dict[str, Any]) -> None:
    """Raise UserError for a parameter out of range."""
    splits = parameters['splits']
    if not splits or not set(splits) <= set(SPLITS):
        raise UserError(
            f"splits must name 'train', 'val' or both, got {sorted(splits)}"
        )
    for split, count in splits.items():
        if count < 1:
            raise UserError(f'{split} must have at least 1 image, got {count}')
    if not MIN_SIZE <= parameters['image_size'] <= MAX_SIZE:
        raise UserError(
            f'image_size must be from {MIN_SIZE} to {MAX_SIZE}, got '
            f'{parameters["image_size"]}'
        )
    if parameters['seed'] < 0:
        raise UserError(f'seed must not be negative, got {parameters["seed"]}')


def _read_marker(root: Path) -> dict[str, Any] | None:
    """What is known of the Shapes at ``root``; None where there is nothing yet."""
    try:
        if not root.exists() or not os.listdir(root):
            return None
        found = json.loads((root / MARKER).read_text())
        if found.keys() >= {'parameters', 'statistics'}:
            return found
    except (OSError, ValueError, AttributeError):
        pass
    raise UserError(
        f'{root} exists and is not a Shapes data set (no readable {MARKER} in it): '
        'give a folder that does not exist or is empty'
    )
