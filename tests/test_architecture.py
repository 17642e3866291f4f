"""The floors of the house: no import runs upward, none in a circle.

And none needs a task library.
"""

import ast
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest
from helpers.commands import run_command

REPO = Path(__file__).resolve().parents[1]
# From the top down; rooms of one floor may use each other.
FLOORS = (
    ('apis',),
    ('deploy',),
    ('models', 'engine', 'compat'),
    ('datasets', 'checkpoints'),
    ('config',),
    ('utils', 'version'),
)
LEVEL = {room: -number for number, rooms in enumerate(FLOORS) for room in rooms}


def list_modules():
    return {
        '.'.join(path.relative_to(REPO).with_suffix('').parts).removesuffix(
            '.__init__'
        ): path
        for path in (REPO / 'mmrapidnet').rglob('*.py')
        if '.mim' not in path.parts
    }


def imports_of(path, modules):
    """The names of the project's own modules that a file imports, lazily too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f'{path}: a relative import'
            whole = [f'{node.module}.{alias.name}' for alias in node.names]
            names = [name if name in modules else node.module for name in whole]
        else:
            continue
        ours = ('mmrapidnet', 'dev', 'tools')
        found.update(name for name in names if name.split('.')[0] in ours)
    return found


def room_of(module):
    return module.split('.')[1] if '.' in module else ''


MODULES = list_modules()
IMPORTS = {name: imports_of(path, MODULES) for name, path in MODULES.items()}


def test_every_room_is_on_a_floor():
    assert {room_of(name) for name in MODULES} - {''} == set(LEVEL)


def test_no_import_runs_upward():
    upward = [
        f'{name} imports {other}'
        for name in set(MODULES) - {'mmrapidnet'}
        for other in IMPORTS[name]
        if LEVEL.get(room_of(other), 1) > LEVEL[room_of(name)]
    ]
    assert not upward


def test_nothing_imports_what_is_not_installed():
    outside = [
        f'{name} imports {other}'
        for name in MODULES
        for other in IMPORTS[name]
        if not other.startswith('mmrapidnet')
    ]
    assert not outside


def test_no_imports_in_a_circle():
    graph = {name: others - {name} for name, others in IMPORTS.items()}
    try:
        tuple(TopologicalSorter(graph).static_order())
    except CycleError as error:
        pytest.fail(' -> '.join(error.args[1]))


# What imports no task library, and needs none to build: models and the drawn data set.
PLAIN = """
import sys
import torch
from mmengine.runner import checkpoint

theirs = set(sys.modules)  # torch 2.1 itself imports safetensors
import mmrapidnet
import mmrapidnet.datasets.shapes
from mmrapidnet.models import MobileViG, RapidNet, RepViT

with torch.device('meta'):
    RapidNet(arch='ti'), MobileViG(arch='ti'), RepViT(arch='m0_6')
libraries = {'mmdet', 'mmseg', 'mmpretrain', 'timm', 'torchvision', 'safetensors'}
ours = {'mmrapidnet.models.heads', 'mmrapidnet.compat'}
assert not (libraries - theirs | ours) & set(sys.modules), sys.modules
assert checkpoint.torch is torch
"""


def test_models_and_shapes_need_no_task_library_and_patch_nothing():
    done = run_command(sys.executable, '-c', PLAIN)
    assert done.returncode == 0, done.stderr
