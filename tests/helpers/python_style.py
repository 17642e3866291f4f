"""A config of any kind, written anew in mmengine's Python style."""

import inspect
from importlib import import_module

from mmengine import registry
from mmengine.registry import Registry

ROOTS = [item for item in vars(registry).values() if isinstance(item, Registry)]


def find_class(name, scope):
    """The class of that very name; None for what is registered under another."""
    for root in ROOTS:
        for own in (root.children.get(scope), root):
            found = own and own.module_dict.get(name)
            if inspect.isclass(found) and found.__name__ == name:
                return found
    return None


def in_python_style(node, scope, imports):
    """What a config in Python style has for a value, and what it imports for it."""
    if isinstance(node, dict):
        items = ', '.join(
            f'{key!r}: {_type(value, scope, imports)}'
            if key == 'type' and isinstance(value, str)
            else f'{key!r}: {in_python_style(value, scope, imports)}'
            for key, value in node.items()
        )
        return f'{{{items}}}'
    if isinstance(node, list):
        return f'[{", ".join(in_python_style(v, scope, imports) for v in node)}]'
    return repr(node)


def _type(name, scope, imports):
    found = find_class(name, scope)
    if found is None:
        return repr(name)
    imports.add(f'from {found.__module__} import {name}')
    return name


def write_in_python_style(plain, folder):
    """Write a config anew as a base of classes and a config that reads it."""
    import_module(f'{plain.default_scope}.registry')
    for root in ROOTS:
        for own in [root, *root.children.values()]:
            own.import_from_location()
    imports = set()
    left_out = ('default_scope', 'custom_imports', 'work_dir')
    values = [
        f'{key} = {in_python_style(value, plain.default_scope, imports)}'
        for key, value in plain.to_dict().items()
        if key not in left_out
    ]
    (folder / 'python_base.py').write_text('\n'.join([*sorted(imports), *values]))
    path = folder / 'python_style.py'
    path.write_text(
        'from mmengine.config import read_base\n\n'
        'with read_base():\n    from .python_base import *\n'
    )
    return path, imports
