"""What the tests of comparisons share."""

import pytest

from dev.comparison import runs


@pytest.fixture
def no_tools(monkeypatch):
    """No run may start."""

    def fail(*arguments):
        raise AssertionError(arguments)

    monkeypatch.setattr(runs, 'run_tool', fail)
