"""Read a config file and change what the command line asks for."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.hooks import Hook

from mmrapidnet.config.override import override
from mmrapidnet.config.type_names import name_types
from mmrapidnet.utils.errors import UserError

DATALOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')


def load_config(
    path: str,
    options: dict[str, Any] | None = None,
    data_root: str | None = None,
    work_dir: str | None = None,
    adapt: Callable[[Config], None] | None = None,
) -> Config:
    """Read a config, override settings and decide where the run's files go.

    Configs are Python and are executed: do not load an untrusted one.

    Args:
        path: Path of the config file.
        options: Settings to override, by dotted name.
        data_root: New root of the data set, if given; see `move_data_root`.
        work_dir: Folder for logs and models. Defaults to the config's own or
            ``work_dirs/<name of the config>``.
        adapt: What else changes the config in place before ``options`` have the
            last word, such as `mmrapidnet.apis.shapes.point_at_shapes`.

    Returns:
        The config.

    Raises:
        UserError: If there is no such file, it cannot be parsed, or what it builds on
            is missing.
    """
    if not Path(path).is_file():
        raise UserError(
            f'there is no config {path}: give the path of a config file, such as '
            'configs/maskrcnn_rapidnet_s_coco.py'
        )
    try:
        cfg = Config.fromfile(path)
    except SyntaxError as error:
        raise UserError(f'the config {path} is not valid Python: {error}') from error
    except FileNotFoundError as error:
        raise UserError(
            f'the config {path} builds on a missing one: {error}'
        ) from error
    except ImportError as error:
        raise UserError(
            f'the config {path} cannot be loaded: {error}; pip install '
            '"mmrapidnet[det,seg,cls]" brings mmdet, mmsegmentation and mmpretrain'
        ) from error
    # It is a program, which fails in any way whatever; mmengine refuses other suffixes.
    except Exception as error:
        raise UserError(
            f'the config {path} cannot be loaded: {type(error).__name__}: {error}'
        ) from error
    _name_types(cfg)
    if data_root is not None:
        move_data_root(cfg, data_root)
    if adapt is not None:
        adapt(cfg)
    if options:
        override(cfg, options)
        _name_types(cfg)
    if work_dir is not None:
        cfg.work_dir = work_dir
    elif cfg.get('work_dir') is None:
        cfg.work_dir = str(Path('work_dirs') / Path(path).stem)
    return cfg


def check_work_dir(cfg: Config) -> None:
    """Raise unless the folder for logs and models is there or can be made.

    Args:
        cfg: The config of a run.

    Raises:
        UserError: If a file is in its place or in that of a folder above it, or
            nothing may be written there.
    """
    work_dir = Path(cfg.work_dir)
    places = (work_dir, *work_dir.absolute().parents)
    found = next(path for path in places if path.exists() or path.is_symlink())
    if not found.is_dir():
        fault = f'{found} is not a folder'
    elif not os.access(found, os.W_OK | os.X_OK):
        fault = f'nothing may be written into {found}'
    else:
        return
    raise UserError(f'the work dir {work_dir} cannot be used: {fault}; give --work-dir')


def move_data_root(cfg: Config, new_root: str) -> None:
    """Point every path of the data sets and evaluators to another folder.

    mmdet's and mmsegmentation's base configs spell the root out again in each
    dataloader and evaluator, so overriding ``data_root`` alone is not enough.

    Args:
        cfg: The config, changed in place.
        new_root: The new root.

    Raises:
        UserError: If the config names no root to replace.
    """
    # A set of its own for validation may have another root: all move alike.
    old_roots = {
        dataset['data_root'].rstrip('/')
        for key in DATALOADERS
        for dataset in iter_datasets(cfg.get(key))
        if dataset.get('data_root')
    }
    if not old_roots:
        raise UserError(
            f'--data-root {new_root}: the data sets of this config have no data_root '
            'to replace; edit the config instead'
        )
    for key, value in cfg.to_dict().items():
        cfg[key] = _replace_roots(value, old_roots, new_root.rstrip('/'))


def add_import(cfg: Config, name: str) -> None:
    """Let another process that reads the config know what a module registers.

    Args:
        cfg: The config, changed in place.
        name: The module's name.
    """
    imports = cfg.get('custom_imports') or dict(imports=[])
    names = dict.fromkeys([*imports['imports'], name])
    cfg.custom_imports = {**imports, 'imports': list(names)}


def add_hook(cfg: Config, hook: type[Hook], **arguments: Any) -> None:
    """Add a hook of ours to those of a config.

    Args:
        cfg: The config, changed in place.
        hook: The class of the hook, registered by its module.
        arguments: Its arguments.
    """
    add_import(cfg, hook.__module__)
    added = dict(type=hook.__name__, **arguments)
    cfg.custom_hooks = [*(cfg.get('custom_hooks') or []), added]


def iter_datasets(node: Any) -> Iterator[dict[str, Any]]:
    """Find the data sets below a dataloader, also inside wrappers.

    Args:
        node: The config of a dataloader, of a data set, or None.

    Yields:
        The config of each data set that wraps no other.
    """
    if isinstance(node, (list, tuple)):
        for item in node:
            yield from iter_datasets(item)
    elif isinstance(node, dict):
        inner = [node[key] for key in ('dataset', 'datasets') if key in node]
        if inner:
            yield from iter_datasets(inner)
        else:
            yield node


def _name_types(cfg: Config) -> None:
    for module in sorted(name_types(cfg)):
        add_import(cfg, module)


def _replace_roots(node: Any, old_roots: set[str], new_root: str) -> Any:
    if isinstance(node, dict):
        return {k: _replace_roots(v, old_roots, new_root) for k, v in node.items()}
    if isinstance(node, (list, tuple)):
        return type(node)(_replace_roots(v, old_roots, new_root) for v in node)
    if isinstance(node, str):
        for root in old_roots:
            if node == root or node.startswith(root + '/'):
                return new_root + node[len(root) :]
    return node
