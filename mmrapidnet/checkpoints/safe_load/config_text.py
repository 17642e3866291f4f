"""Read the config text stored in a checkpoint as data, never as code.

mmengine writes ``Config.pretty_text``, which is Python, into every checkpoint;
``Runner.resume`` executes the text in ``meta['config']`` (to read ``gpu_ids``), and an
inferencer that is given no config executes the one in the message hub or
``meta['cfg']``.  Whoever wrote the file would so run any code, safe unpickling or not.

So these texts are written anew from their parsed literals, without the names at which
``Config.fromfile`` imports or executes something else.  A text that is not made of
literals alone is replaced by an empty one, with a warning.
"""

import ast
import logging
import math
from typing import Any

from mmengine.logging import print_log

from mmrapidnet.utils.errors import sanitize

# Names that make Config.fromfile import modules, or that it refuses; those it
# acts upon by reading other files start with an underscore.
LEFT_OUT = ('custom_imports', 'filename', 'text', 'pretty_text', 'env_variables')


def parse(text: str) -> dict:
    """Evaluate config text that consists of literals, executing nothing.

    Args:
        text: Assignments ``name = value``, the value made of constants,
            lists, tuples, dicts, sets and ``dict(...)``, as
            ``mmengine.Config.pretty_text`` writes them.

    Returns:
        The values by name.

    Raises:
        ValueError: If there is anything else in the text.

    Examples:
        >>> parse("gpu_ids = [0]; model = dict(type='RapidNet', depth=-1)")
        {'gpu_ids': [0], 'model': {'type': 'RapidNet', 'depth': -1}}
        >>> parse('import os')
        Traceback (most recent call last):
            ...
        ValueError: line 1 is not an assignment of a literal to a name
    """
    try:
        return dict(_assignment(node) for node in ast.parse(text).body)
    except (SyntaxError, RecursionError, MemoryError, TypeError) as error:
        raise ValueError(f'not a config: {type(error).__name__}') from error


def inert(text: Any) -> str:
    r"""The same config as text that ``Config.fromstring`` may safely execute.

    Args:
        text: What a checkpoint holds in place of its config text.

    Returns:
        Assignments of literals; empty (with a logged warning) if ``text`` is
        not a string or holds more than literals.

    Examples:
        >>> inert("custom_imports = dict(imports=['x'])\nseed = 1")
        'seed = 1\n'
    """
    try:
        return _write(parse(text))
    except ValueError as error:
        print_log(
            'The config text stored in the checkpoint is left out: it is not plain '
            f'data ({sanitize(error)}) and is not executed.',
            logger='current',
            level=logging.WARNING,
        )
        return ''


def _write(values: dict) -> str:
    return ''.join(
        f'{name} = {_literal(value)}\n'
        for name, value in values.items()
        if name not in LEFT_OUT and not name.startswith('_')
    )


def make_inert(checkpoint: dict) -> None:
    """Replace, in place, every config text that mmengine might execute."""
    meta = _item(checkpoint, 'meta')
    info = _item(_item(checkpoint, 'message_hub'), 'runtime_info')
    for holder, key in ((meta, 'config'), (meta, 'cfg'), (info, 'cfg')):
        if isinstance(holder, dict) and key in holder:
            holder[key] = inert(holder[key])


def _item(holder: Any, key: str) -> Any:
    # Not `holder.get`: a file may give an OrderedDict an attribute of that name.
    return holder[key] if isinstance(holder, dict) and key in holder else None


def _literal(value: Any) -> str:
    # Config.fromfile substitutes `{{ name }}` in the text before executing it.
    return repr(value).replace('{{', '{\\x7b')


def _assignment(node: ast.stmt) -> tuple:
    if (
        isinstance(node, ast.Assign)
        and len(node.targets) == 1
        and isinstance(node.targets[0], ast.Name)
    ):
        return node.targets[0].id, _value(node.value)
    raise ValueError(f'line {node.lineno} is not an assignment of a literal to a name')


def _value(node: ast.expr) -> Any:
    if isinstance(node, (ast.List, ast.Tuple, ast.Set)):
        kind = {ast.List: list, ast.Tuple: tuple, ast.Set: set}[type(node)]
        return kind(_value(item) for item in node.elts)
    if isinstance(node, ast.Dict) and None not in node.keys:
        pairs = zip(node.keys, node.values, strict=True)
        return {_value(key): _value(value) for key, value in pairs}
    if _is_dict_call(node):
        positional = [_value(item) for item in node.args]
        return dict(*positional, **{k.arg: _value(k.value) for k in node.keywords})
    if isinstance(node, (ast.Constant, ast.UnaryOp)):
        return _constant(node)
    raise ValueError(f'line {node.lineno} holds more than literals')


def _constant(node: ast.expr) -> Any:
    value = ast.literal_eval(node)
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f'line {node.lineno} holds a number out of range')
    return value


def _is_dict_call(node: ast.expr) -> bool:
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == 'dict'
        and all(keyword.arg for keyword in node.keywords)
    )
