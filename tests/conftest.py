"""Fixtures that several tests share; expensive ones are made once a session."""

from pathlib import Path

import pytest
from helpers import cheap_runs, forked
from mmengine.registry import DefaultScope

from mmrapidnet import compat

compat.apply()
cheap_runs.apply()
forked.start_autograd()


@pytest.fixture(scope='module', autouse=True)
def _no_scope_of_others():
    """Runners leave a default scope behind; no file of tests meets another's."""
    DefaultScope._instance_dict.clear()


@pytest.fixture(params=['torch', 'restricted_unpickler'])
def either_way(request, monkeypatch):
    """Both ways of loading checkpoints: that of torch >= 2.6 and that of older ones."""
    from mmrapidnet.checkpoints.safe_load import load

    if request.param == 'restricted_unpickler':
        monkeypatch.setattr(load, 'TORCH_KNOWS_STAND_INS', False)


@pytest.fixture
def thin_archs():
    """All architectures have an eighth of their channels."""
    from helpers import published

    with published.thin_archs():
        yield


@pytest.fixture(scope='session')
def shapes_root(tmp_path_factory) -> Path:
    """A small Shapes data set, the same for all tests."""
    from mmrapidnet.datasets.shapes import write_shapes

    root = tmp_path_factory.mktemp('data') / 'shapes'
    write_shapes(root, splits={'train': 12, 'val': 6}, image_size=96)
    return root


@pytest.fixture(scope='session')
def trained_run(tmp_path_factory) -> Path:
    """The folder of a run of two epochs of mmengine's Runner."""
    from helpers import mini_run

    folder = tmp_path_factory.mktemp('trained_run')
    mini_run.build_runner(folder).train()
    return folder


@pytest.fixture
def canary(tmp_path):
    """The path of a file that malicious ones would write."""
    path = tmp_path / 'canary'
    yield path
    assert not path.exists(), 'code from the checkpoint was executed'
