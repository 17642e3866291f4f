"""Loads data in the main process whatever a config says of workers.

Reason:
    PyTorch refuses ``persistent_workers``, ``prefetch_factor`` and ``timeout`` where
    there are no workers, so that ``num_workers=0`` alone, over a base config that has
    them, ends in a traceback.

Condition:
    The config of a loader asks for no workers.

What it does:
    Builds the loader without these settings.
"""

from collections.abc import Callable
from typing import Any

from mmrapidnet.compat.patching import wrap

_OF_WORKERS = ('persistent_workers', 'prefetch_factor', 'timeout')


def apply() -> None:
    """Let ``Runner.build_dataloader`` leave out what only workers need."""
    from mmengine.runner import Runner

    wrap(Runner, 'build_dataloader', _build_dataloader)


def _build_dataloader(
    stock: Callable[..., Any], dataloader: Any, *args: Any, **kwargs: Any
) -> Any:
    if isinstance(dataloader, dict) and not dataloader.get('num_workers'):
        dataloader = dataloader.copy()
        for name in _OF_WORKERS:
            dataloader.pop(name, None)
    return stock(dataloader, *args, **kwargs)
