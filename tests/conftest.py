"""Fixtures that several tests share; expensive ones are made once a session."""

from pathlib import Path

import pytest
from helpers.unformatted import leave_configs_unformatted
from mmengine.registry import DefaultScope

from mmrapidnet import compat

compat.apply()
leave_configs_unformatted()


@pytest.fixture(scope='module', autouse=True)
def _no_scope_of_others():
    """Runners leave a default scope behind; no file of tests meets another's."""
    DefaultScope._instance_dict.clear()


@pytest.fixture(scope='session')
def shapes_root(tmp_path_factory) -> Path:
    """A small Shapes data set, the same for all tests."""
    from mmrapidnet.datasets.shapes import write_shapes

    root = tmp_path_factory.mktemp('data') / 'shapes'
    write_shapes(root, splits={'train': 12, 'val': 6}, image_size=96)
    return root
