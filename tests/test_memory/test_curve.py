"""Memory over time: level, growth and verdict, by hand."""

import pytest

from mmrapidnet.memory.curve import MIB, Curve, draw


def make(totals, workers=0):
    totals = [MIB * held for held in totals]
    return Curve(
        times=[60.0 * i for i in range(len(totals))],
        main=[held - MIB * workers for held in totals],
        workers=[MIB * workers] * len(totals),
    )


def test_by_hand():
    """Fourteen samples; the first six are warm-up, quarters are of two samples."""
    curve = make(
        [5, 900, 5, 6, 7, 8, 100, 102, 101, 101, 101, 101, 104, 106], workers=3
    )
    assert curve.total[1] == 900 * MIB
    assert curve.level == 101 * MIB
    # Of 105 and 101.
    assert curve.growth == 4 * MIB
    assert not curve.flat
    assert curve.describe() == (
        '101 MiB after warm-up, +4.0 MiB (+4.0%) from the first to the last quarter of '
        '13.0 minutes'
    )


@pytest.mark.parametrize(('last', 'flat'), [(100, True), (102, True), (103, False)])
def test_two_percent_are_flat(last, flat):
    curve = make([0] * 5 + [100] * 5 + [last] * 2)
    assert curve.level == 100 * MIB
    assert curve.flat is flat


def test_falling_is_flat():
    assert make([0] * 4 + [100] * 5 + [90, 80]).flat


def test_picture(tmp_path):
    draw({'one': make([1, 2, 3]), 'two': make([1, 2, 3], 1)}, tmp_path / 'a.png')
    assert (tmp_path / 'a.png').stat().st_size > 1000
