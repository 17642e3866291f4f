"""The OpenMMLab library that a config belongs to."""

from __future__ import annotations

from importlib.util import find_spec

from mmengine.config import Config

from mmrapidnet.utils.errors import UserError

# Scope of a config: the package to install and our extra that brings it.
LIBRARIES = {
    'mmdet': ('mmdet', 'det'),
    'mmseg': ('mmsegmentation', 'seg'),
    'mmpretrain': ('mmpretrain', 'cls'),
}


def require_library(cfg: Config) -> str:
    """Return the scope of a config once its library is known to be installed.

    Args:
        cfg: The config of a run.

    Returns:
        'mmdet', 'mmseg' or 'mmpretrain'.

    Raises:
        UserError: If the config has another scope or the library is absent, or its
            model is no dict.
    """
    scope = cfg.get('default_scope')
    model = cfg.get('model')
    if not isinstance(model, (dict, type(None))):
        raise UserError(
            f'model of {cfg.filename} is {model!r}: it must be a dict with a type'
        )
    if scope not in LIBRARIES:
        raise UserError(
            f'default_scope of {cfg.filename} is {scope!r}: it must be one of '
            f'{", ".join(LIBRARIES)}'
        )
    if find_spec(scope) is None:
        package, extra = LIBRARIES[scope]
        raise UserError(
            f'{cfg.filename} needs {package}, which is not installed: '
            f'pip install "mmrapidnet[{extra}]"'
        )
    return scope
