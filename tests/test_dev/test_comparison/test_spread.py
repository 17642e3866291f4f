"""Means, deviations and gains against numbers worked out by hand."""

import math
import re

import pytest

from dev.comparison.pairs import judge
from dev.comparison.spread import Gain, Spread


def test_one_run_has_no_spread():
    spread = Spread.of([0.5])
    assert (spread.mean, spread.stdev, spread.show(2)) == (0.5, None, '0.50 (n=1)')


def test_spread_of_three():
    # Squared deviations 9 + 9 + 36, over 2.
    spread = Spread.of([53.0, 53.0, 44.0])
    assert spread.mean == 50.0
    assert math.isclose(spread.stdev, math.sqrt(27))
    assert spread.show(1) == '50.0 ± 5.2 (n=3)'


def test_gain_of_five_pairs():
    changed, plain = [70.0, 74.0, 72.0, 71.0, 73.0], [60.0, 66.0, 63.0, 60.0, 66.0]
    gain = Gain.of(changed, plain)
    # Means 72 and 63; squared deviations 4 + 4 + 0 + 1 + 1, and 9 + 9 + 0 + 9 + 9,
    # over 4.
    assert (gain.changed.mean, gain.plain.mean) == (72.0, 63.0)
    assert math.isclose(gain.changed.stdev, math.sqrt(2.5))
    assert math.isclose(gain.plain.stdev, 3.0)
    assert gain.difference.values == [10.0, 8.0, 9.0, 11.0, 7.0]
    assert gain.difference.mean == 9.0
    assert math.isclose(gain.difference.stdev, math.sqrt(2.5))
    # The mean difference over its standard error, the root of 2.5 / 5.
    assert math.isclose(gain.t, 9 / math.sqrt(0.5))
    assert gain.p < 0.001 and gain.significant


@pytest.mark.parametrize(
    ('changed', 'significant', 'words'),
    [
        # With two degrees of freedom t must exceed 4.303; it is the root of 3 times the
        # mean difference, which must so exceed 2.484.
        ([1.4, 2.4, 3.4], False, 'is not significant .*: no gain is shown'),
        ([1.6, 2.6, 3.6], True, r'\+2.60, is a significant gain \(paired t-test, t ='),
        ([-3.6, -2.6, -1.6], True, '-2.60, is a significant loss'),
    ],
)
def test_a_paired_t_test_decides(changed, significant, words):
    gain = Gain.of(changed, [0.0, 0.0, 0.0])
    assert math.isclose(gain.t, math.sqrt(3) * gain.difference.mean)
    assert gain.significant is significant
    assert re.search(words, judge(gain))


def test_equal_differences_have_no_test():
    gain = Gain.of([3.0, 5.0], [2.0, 4.0])
    assert (gain.t, gain.p, gain.significant) == (None, None, False)
    assert '+1.00, is that of every seed: without spread' in judge(gain)


def test_one_seed_has_no_test():
    gain = Gain.of([3.0], [2.0])
    assert (gain.t, gain.p, gain.significant) == (None, None, False)
    assert '+1.00, is of one seed: there is no t-test' in judge(gain)


def test_pairs_are_complete():
    with pytest.raises(ValueError, match='shorter'):
        Gain.of([1.0, 2.0, 3.0], [1.0, 2.0])
