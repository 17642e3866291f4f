"""Means, deviations and gains against numbers worked out by hand."""

import math

import pytest

from mmrapidnet.comparison.spread import Gain, Spread


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
    assert math.isclose(gain.pooled_stdev, math.sqrt((2.5 + 9) / 2))
    assert gain.exceeds


@pytest.mark.parametrize(
    ('changed', 'exceeds'),
    [
        # Both vary by a standard deviation of the root of 2.
        ([3.5, 5.5], True),
        ([3.4, 5.4], False),
        ([3.0, 5.0], False),
        # A loss is no gain, however large.
        ([-30.0, -28.0], False),
    ],
)
def test_a_gain_exceeds_the_pooled_deviation(changed, exceeds):
    gain = Gain.of(changed, [2.0, 4.0])
    assert math.isclose(gain.pooled_stdev, math.sqrt(2))
    assert gain.exceeds is exceeds


def test_pairs_are_complete():
    with pytest.raises(ValueError, match='shorter'):
        Gain.of([1.0, 2.0, 3.0], [1.0, 2.0])
