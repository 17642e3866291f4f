"""Finds configs by the name of the package that brings them.

Reason:
    mmengine looks for ``mmseg::`` configs in the package mmsegmentation; the fork of
    the OpenMMLab libraries brings mmseg in onedl-mmsegmentation, so that each config
    that builds on one ends with ``mmsegmentation is not installed``.  Packages that are
    not on its own list have no configs for it, ours among them.
    For each config of a library that another builds on it reads all metafiles of that
    library, a second for one of ours, and then takes the path in the package as it is:
    it looks for names without a suffix among names with one.

Condition:
    There is a module mmseg, but no package mmsegmentation; for the rest none.

What it does:
    Lets mmengine look for the module instead, as it does for mmdet, and find
    ``mmrapidnet::`` configs in the package that is imported: those that an installed
    one carries, or those beside it in a checkout.  Configs of the libraries are first
    looked for in the package itself.
"""

import difflib
import functools
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

from mmrapidnet.config.libraries import LIBRARIES


def apply() -> None:
    """Let mmengine find ``mmseg::`` configs of the fork, and our own."""
    from mmengine.config import Config, utils
    from mmengine.utils import is_installed

    if is_installed('mmseg') and not is_installed('mmsegmentation'):
        utils.MODULE2PACKAGE['mmseg'] = 'mmseg'
    if not hasattr(Config._get_cfg_path, '__wrapped__'):
        Config._get_cfg_path = staticmethod(_with_ours(Config._get_cfg_path))


def find_config(name: str) -> Path:
    """Find one of our configs.

    Args:
        name: Its path below ``configs``, such as 'maskrcnn_rapidnet_s_coco.py'.

    Returns:
        Its full path.

    Raises:
        FileNotFoundError: If there is none of that name, with the nearest ones.
    """
    package = Path(__file__).parents[1]
    folders = (package / '.mim' / 'configs', package.parent / 'configs')
    folder = next(filter(Path.is_dir, folders), folders[0])
    if (folder / name).is_file():
        return folder / name
    names = [path.relative_to(folder).as_posix() for path in folder.rglob('*.py')]
    near = ', '.join(difflib.get_close_matches(name, names))
    hint = f'; did you mean {near}?' if near else ''
    raise FileNotFoundError(f'mmrapidnet has no config {name}{hint}')


def _with_ours(find: Callable[[str, str], tuple[str, str | None]]) -> Callable:
    @functools.wraps(find)
    def find_path(cfg_path: str, filename: str) -> tuple[str, str | None]:
        scope, _, name = cfg_path.rpartition('::')
        if scope == 'mmrapidnet':
            # Without a scope: our models are in the root registry.
            return str(find_config(name)), None
        spec = find_spec(scope) if scope in LIBRARIES else None
        if spec and spec.origin:
            path = Path(spec.origin).parent / '.mim' / 'configs' / name
            if path.is_file():
                return str(path), scope
        return find(cfg_path, filename)

    return find_path
