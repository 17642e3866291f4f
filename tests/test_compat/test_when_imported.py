import importlib
import sys

import pytest

from mmrapidnet.compat.when_imported import when_imported


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Name of a module that nobody has imported."""
    (tmp_path / 'made_up_library').mkdir()
    (tmp_path / 'made_up_library' / '__init__.py').write_text('VALUE = 1\n')
    (tmp_path / 'made_up_library' / 'part.py').write_text('VALUE = 1\n')
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, 'meta_path', list(sys.meta_path))
    yield 'made_up_library.part'
    for name in ('made_up_library.part', 'made_up_library'):
        sys.modules.pop(name, None)


def double(module):
    module.VALUE *= 2


def triple(module):
    module.VALUE *= 3


def test_before_it_is_imported(module):
    """Each of several patches, once however often it is asked for."""
    for _ in range(2):
        when_imported(module, double)
        when_imported(module, triple)
    assert module not in sys.modules
    assert importlib.import_module('made_up_library').VALUE == 1
    assert importlib.import_module(module).VALUE == 6


def test_after_it_was_imported(module):
    part = importlib.import_module(module)
    when_imported(module, double)
    assert part.VALUE == 2


def test_what_is_not_installed():
    before = list(sys.meta_path)
    when_imported('no_such_library.part', double)
    try:
        with pytest.raises(ModuleNotFoundError):
            importlib.import_module('no_such_library.part')
    finally:
        sys.meta_path[:] = before
