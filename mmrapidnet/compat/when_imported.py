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
    if name in sys.modules:
        patch(sys.modules[name])
        return
    finders = (finder for finder in sys.meta_path if isinstance(finder, _Finder))
    finder = next((finder for finder in finders if finder.name == name), None)
    if finder is None:
        finder = _Finder(name)
        sys.meta_path.insert(0, finder)
    if patch not in finder.patches:
        finder.patches.append(patch)


class _Finder(MetaPathFinder):
    """Finds one module as Python would, and has it patched after it has run."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.patches: list[Callable[[ModuleType], None]] = []

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
                for patch in self.patches:
                    patch(module)

            spec.loader.exec_module = run_and_patch
        return spec
