"""Patches a module of a task library when it is imported, and imports none itself."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType


def when_imported(name: str, patch: Callable[[ModuleType], None]) -> None:
    """Patch a module now if it is imported already, otherwise once it has been.

    Args:
        name: Full name of the module, which need not be installed.
        patch: Called once with the module.
    """
    finder = _Finder(name, patch)
    if name in sys.modules:
        patch(sys.modules[name])
    elif finder not in sys.meta_path:
        sys.meta_path.insert(0, finder)


class _Finder(MetaPathFinder):
    """Finds one module as Python would, and has it patched after it has run."""

    def __init__(self, name: str, patch: Callable[[ModuleType], None]) -> None:
        self.name, self.patch = name, patch

    def __eq__(self, other: object) -> bool:
        same = isinstance(other, _Finder)
        return same and (self.name, self.patch) == (other.name, other.patch)

    __hash__ = None

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
