"""Types in a config as the names they are registered by, however they are written.

A config in Python style (mmengine's ``read_base`` and imports) gives classes, its dump
their full paths, others a scope before the name.  mmengine takes them all alike;
whoever looks at a config to change it would have to know each.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from pkgutil import resolve_name
from types import FunctionType
from typing import Any

import mmengine.registry
from mmengine.config import Config
from mmengine.config.lazy import LazyAttr, LazyObject
from mmengine.registry import Registry

from mmrapidnet.config.libraries import LIBRARIES

_ROOTS = [
    item
    for item in vars(mmengine.registry).values()
    if isinstance(item, Registry) and item.parent is None
]
# What these register is found without `custom_imports`.
_KNOWN = {*LIBRARIES, 'mmengine', 'mmcv', 'torch', 'torchvision', 'builtins'}


def name_types(cfg: Config) -> set[str]:
    """Put the name that it is registered by in the place of each type.

    The name has a scope where it would mean something else without one.  What is not
    registered is named by its full path.  A config without ``default_scope`` gets that
    of the first library which one of its types is from, the model's before others.

    Args:
        cfg: The config, changed in place.

    Returns:
        The modules of all types that are neither mmengine's nor the libraries'.
    """
    content = cfg._cfg_dict
    places = [
        place
        for key in sorted(content, key=lambda key: key != 'model')
        for place in _places(dict.__getitem__(content, key))
    ]
    scope = cfg.get('default_scope')
    items = [_resolve(node[key], scope) for node, key in places]
    if scope is None:
        packages = (_package(item) for item in items)
        scope = next((p for p in packages if p in LIBRARIES), None)
    if any(item is not None for item in items):
        cfg.default_scope = scope
        _registries(scope)
    for (node, key), item in zip(places, items, strict=True):
        name = _registered_name(item, scope)
        if name is None and key == 'type' and hasattr(item, '__qualname__'):
            name = f'{item.__module__}.{item.__qualname__}'
        if name is not None:
            node[key] = name
    modules = {item.__module__ for item in items if hasattr(item, '__qualname__')}
    return {name for name in modules if name.split('.')[0] not in _KNOWN}


def _places(node: Any) -> Iterator[tuple[dict | list, Any]]:
    """Find where types are written as something else than a bare name."""
    if isinstance(node, dict):
        # Not `node.items()`, which builds lazy objects.
        items = dict.items(node)
    elif isinstance(node, (list, tuple)):
        items = enumerate(node)
    else:
        return
    for key, value in items:
        dotted = key == 'type' and isinstance(value, str) and '.' in value
        if dotted or isinstance(value, (LazyObject, LazyAttr, type, FunctionType)):
            if not isinstance(node, tuple):
                yield node, key
        else:
            yield from _places(value)


def _resolve(value: Any, default_scope: str | None) -> Any:
    """The class or function that is meant; None for a name that is fine as it is."""
    if not isinstance(value, str):
        return value
    scope, _, name = value.partition('.')
    if '.' in name:
        try:
            return resolve_name(value)
        except Exception:  # Registries leave it at that, too.
            return None
    registries = _registries(scope) if scope in ('mmengine', default_scope) else []
    found = (one.module_dict.get(name) for one in registries)
    return next((item for item in found if item is not None), None)


def _registries(scope: str | None) -> list[Registry]:
    """The registries of a scope, filled; one that is not installed has none."""
    if scope is not None and scope != 'mmengine' and find_spec(scope) is not None:
        import_module(f'{scope}.registry')
    parts = (root.children.get(scope, root) for root in _ROOTS)
    found = [one for one in parts if one.scope == scope]
    for one in found:
        one.import_from_location()
    return found


def _package(item: Any) -> str:
    return str(getattr(item, '__module__', '')).split('.')[0]


def _registered_name(item: Any, scope: str | None) -> str | None:
    """The name of a class or function in a config of a scope, if it is registered."""
    with_scope = None
    for root in _ROOTS:
        own = root.children.get(scope, root).module_dict
        for one in (root, *root.children.values()):
            for name, entry in one.module_dict.items():
                if entry is item:
                    # What the name means without a scope.
                    if own.get(name, root.module_dict.get(name)) is item:
                        return name
                    with_scope = f'{one.scope}.{name}'
    return with_scope


def type_name(config: dict[str, Any]) -> str:
    """Name the class that a config builds, without the prefix of a library.

    Args:
        config: A config with a ``type``, which is a name or the class itself.

    Returns:
        The name; empty if there is no type.

    Examples:
        >>> type_name(dict(type='mmdet.Resize')), type_name(dict(type=dict))
        ('Resize', 'dict')
    """
    kind = config.get('type') or ''
    name = kind if isinstance(kind, str) else kind.__name__
    return name.rpartition('.')[2]
