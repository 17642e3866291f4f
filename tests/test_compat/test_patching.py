import importlib
import sys
from types import ModuleType

import pytest

from mmrapidnet.compat.patching import when_imported, wrap


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


def test_before_it_is_imported(module):
    """Once, however often it is asked for."""
    for _ in range(2):
        when_imported(module, double)
    assert module not in sys.modules
    assert importlib.import_module('made_up_library').VALUE == 1
    assert importlib.import_module(module).VALUE == 2


def test_after_it_was_imported(module):
    part = importlib.import_module(module)
    when_imported(module, double)
    assert part.VALUE == 2


def test_what_is_not_installed(monkeypatch):
    monkeypatch.setattr(sys, 'meta_path', list(sys.meta_path))
    when_imported('no_such_library.part', double)
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module('no_such_library.part')


class Numbers:
    """Methods of each kind that is patched."""

    def add(self, number):
        """Add."""
        return 1 + number

    @staticmethod
    def multiply(first, second):
        return first * second


def test_a_method_is_wrapped_once():
    def ten_times(stock, *arguments, **options):
        return 10 * stock(*arguments, **options)

    class Patched(Numbers):
        pass

    functions = ModuleType('functions')
    functions.multiply = Numbers.multiply
    for _ in range(2):
        wrap(Patched, 'add', ten_times)
        wrap(Patched, 'multiply', ten_times)
        wrap(functions, 'multiply', ten_times)
    assert Patched().add(number=2) == 30
    assert Patched.add.__doc__ == 'Add.'
    assert Patched.multiply(2, 3) == Patched().multiply(2, 3) == 60
    assert functions.multiply(2, 3) == 60
    assert (Numbers().add(2), Numbers.multiply(2, 3)) == (3, 6)


def test_a_patch_below_another_is_not_repeated():
    class Owner:
        def method(self):
            return []

    def first(stock, owner):
        return [*stock(owner), 'first']

    def second(stock, owner):
        return [*stock(owner), 'second']

    for _ in range(2):
        wrap(Owner, 'method', first)
        wrap(Owner, 'method', second)
    assert Owner().method() == ['first', 'second']
