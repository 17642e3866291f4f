"""Settings of a command line that override those of a config."""

from __future__ import annotations

import difflib
import inspect
import logging
from collections.abc import Sequence
from typing import Any

from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.runner import Runner

from mmrapidnet.utils.errors import UserError

# What may be set though a config says nothing of it.
_OPTIONAL = {
    *inspect.signature(Runner).parameters,
    'auto_scale_lr',
    'compile',
    'custom_imports',
    'find_unused_parameters',
    'model_wrapper_cfg',
    'runner_type',
    'sync_bn',
    'tta_model',
    'tta_pipeline',
}


def override(cfg: Config, options: dict[str, Any]) -> None:
    """Override settings, and warn of those that the config does not have.

    Such a setting may be a new one, but if it is misspelt nothing will ever read it.

    Args:
        cfg: The config, changed in place.
        options: Settings by dotted name, a number standing for a place in a list.

    Raises:
        UserError: If a name leads through what holds no settings, or past the end of a
            list.
    """
    replaced = tuple(
        name.removesuffix('_delete_') for name in options if name.endswith('._delete_')
    )
    for name, value in options.items():
        if name.startswith(replaced):
            continue
        names = name.split('.')
        found = _find_end(cfg, names)
        if found is None:
            continue
        node, depth = found
        place = '.'.join(names[:depth]) or 'the config'
        if isinstance(node, list):
            fault = f'{place} is a list of {len(node)}, counted from 0'
        elif not isinstance(node, (dict, Config)):
            fault = f'{place} is {node!r} and not a dict: give it as a whole'
        else:
            _warn_of_new(node, names, depth)
            continue
        raise UserError(f'--cfg-options {name}={value}: {fault}')
    try:
        cfg.merge_from_dict(options)
    # As mmengine does for a single number in a list.
    except (AttributeError, TypeError) as error:
        raise UserError(
            f'--cfg-options {" ".join(options)}: {error}: give lists as a whole'
        ) from error


def _find_end(node: Any, names: Sequence[str]) -> tuple[Any, int] | None:
    """Find where a config does not go on as a name does: that part, and its depth."""
    for depth, name in enumerate(names):
        if isinstance(node, list):
            if not name.isdigit() or int(name) >= len(node):
                return node, depth
            node = node[int(name)]
        elif isinstance(node, (dict, Config)) and name in node:
            node = node[name]
        else:
            return node, depth
    return None


def _warn_of_new(node: Any, names: Sequence[str], depth: int) -> None:
    optional = _OPTIONAL if depth == 0 else ()
    if names[depth] in optional:
        return
    near = difflib.get_close_matches(names[depth], {*node, *optional}, n=1)
    hint = f'; did you mean {".".join([*names[:depth], *near])}?' if near else ''
    print_log(
        f'--cfg-options {".".join(names)}: the config has no '
        f'{".".join(names[: depth + 1])}, it is added{hint}',
        logger='current',
        level=logging.WARNING,
    )
