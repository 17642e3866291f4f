"""Peak memory of a call."""

import sys

import numpy as np
import pytest

from dev.benchmark.memory import measure_peak


class Hold:
    """Keeps 40 MB while it is open, and 80 MB more during a call."""

    def __init__(self):
        self.kept = np.ones(5_000_000)

    def __call__(self):
        return np.ones(10_000_000).sum() + self.kept[0]


@pytest.mark.skipif(sys.platform != 'linux', reason='read from /proc')
def test_peak_memory():
    assert 119e6 < measure_peak(Hold) < 135e6
