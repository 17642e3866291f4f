"""Old names of modules, which go on importing and name the new one.

Configs in the work dirs of earlier versions have them in ``custom_imports``.
"""

from __future__ import annotations

import sys
import warnings
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

_HOOKS = 'mmrapidnet.engine.hooks.'
# Old name: the modules that have its content now.
RENAMED = {
    'mmrapidnet.compat.on': ('mmrapidnet.compat.patch_all',),
    'mmrapidnet.engine.accumulation': (_HOOKS + 'accumulation',),
    'mmrapidnet.engine.channels_last': (_HOOKS + 'channels_last',),
    'mmrapidnet.engine.durable_checkpoints': (_HOOKS + 'checkpoint',),
    'mmrapidnet.engine.repeatable': ('mmrapidnet.engine.loops',),
    'mmrapidnet.engine.same_buffers': (_HOOKS + 'broadcast_buffers',),
    'mmrapidnet.optim': (
        'mmrapidnet.engine.schedulers',
        _HOOKS + 'adaptive_grad_clip',
    ),
}


def let_old_names_import() -> None:
    """Let Python import the old names where it finds no module of that name."""
    sys.meta_path.append(_OldNames())


class _OldNames(MetaPathFinder, Loader):
    """Makes a module of an old name, with the content of the new one."""

    def find_spec(self, name: str, *_: Any) -> ModuleSpec | None:
        return ModuleSpec(name, self) if name in RENAMED else None

    def exec_module(self, module: ModuleType) -> None:
        new = RENAMED[module.__name__]
        for content in map(vars, map(import_module, new)):
            module.__dict__.update(
                {name: content[name] for name in content if not name.startswith('__')}
            )
        message = f'{module.__name__} is called {" and ".join(new)} now'
        # Of the import, past the frame of this loader.
        warnings.warn(message, FutureWarning, stacklevel=2)
