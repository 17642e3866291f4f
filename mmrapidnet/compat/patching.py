"""How methods are patched, and modules of task libraries without importing these."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable, Iterator, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any


def wrap(owner: Any, name: str, wrapper: Callable[..., Any]) -> None:
    """Let a function take the place of a method; a second time changes nothing.

    Args:
        owner: The class or module that has the method.
        name: The method's name.
        wrapper: Called with the method that was there, then with its arguments.
    """
    stock = getattr(owner, name)
    if wrapper in _wrappers(stock):
        return

    @functools.wraps(stock)
    def call(*args: Any, **kwargs: Any) -> Any:
        return wrapper(stock, *args, **kwargs)

    call.wrapper = wrapper
    is_static = isinstance(inspect.getattr_static(owner, name), staticmethod)
    setattr(owner, name, staticmethod(call) if is_static else call)


def _wrappers(method: Callable[..., Any]) -> Iterator[Callable[..., Any]]:
    """What was wrapped around a method, other patches in between."""
    while hasattr(method, 'wrapper'):
        yield method.wrapper
        method = method.__wrapped__


def when_imported(name: str, patch: Callable[[ModuleType], None]) -> None:
    """Patch a module now if it is imported already, otherwise once it has been.

    Args:
        name: Full name of the module, which need not be installed. It has one patch.
        patch: Called with the module.
    """
    if name in sys.modules:
        patch(sys.modules[name])
        return
    finders = [finder for finder in sys.meta_path if isinstance(finder, _Finder)]
    if name not in [finder.name for finder in finders]:
        sys.meta_path.insert(0, _Finder(name, patch))


class _Finder(MetaPathFinder):
    """Finds one module as Python would, and has it patched after it has run."""

    def __init__(self, name: str, patch: Callable[[ModuleType], None]) -> None:
        self.name = name
        self.patch = patch

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name != self.name:
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None:
            run = spec.loader.exec_module

            def run_and_patch(module: ModuleType) -> None:
                run(module)
                self.patch(module)

            spec.loader.exec_module = run_and_patch
        return spec
