"""What is compared with what, and what a run measures and saves."""

import pytest
import torch
from helpers.benchmark_records import fake

from dev.benchmark import rounds
from mmrapidnet.utils.errors import UserError


def test_baselines():
    eager, fused = fake(), fake(runtime='fused')
    peer, other_size = fake('b', 'fused'), fake(size=(9, 9))
    all_ = [other_size, eager, fused, peer, fake('b')]
    for baseline, expected in (
        ('eager', eager),
        ('b', peer),
        ('a/eager', eager),
        ('a/fused', fused),
    ):
        assert rounds.find_baseline(fused, all_, baseline) is expected
    with pytest.raises(UserError, match='--baseline c: a/eager has nothing of that na'):
        rounds.find_baseline(other_size, all_, 'c')
    with pytest.raises(UserError, match='--baseline fused: a/eager .* beside it'):
        rounds.find_baseline(other_size, all_, 'fused')


def test_run_measures_groups_and_saves_each(monkeypatch):
    product = rounds.multiply_matrices(edge=16)
    monkeypatch.setattr(rounds, 'multiply_matrices', lambda device: product)
    group = [fake(), fake(runtime='fused'), fake('b')]
    section = rounds.Section('One', [*group, fake(batch=2)], 'eager')
    saved = []
    settings = rounds.Settings(rounds=2, warm_up=1, trial=True, memory=False)
    record = rounds.run(
        [section], settings, 'a command', lambda r: saved.append(len(r['rows']))
    )
    assert saved == [3, 4]
    assert [(r.model, r.runtime, r.batch, r.baseline) for r in record['rows']] == [
        ('a', 'eager', 1, 'a/eager'),
        ('a', 'fused', 1, 'a/eager'),
        ('b', 'eager', 1, 'b/eager'),
        ('a', 'eager', 2, 'a/eager'),
    ]
    for row in record['rows']:
        assert len(row.seconds) == 2
        assert row.found == {'result': 7}
        assert row.memory is None
        assert row.params == 1_500_000
        assert row.ratio * row.median_ms == pytest.approx(
            next(
                other.median_ms
                for other in record['rows']
                if f'{other.model}/{other.runtime}' == row.baseline
                and other.batch == row.batch
            )
        )
    assert record['machine']['threads'] == 1
    assert record['versions']['torch'] == torch.__version__
    assert record['settings']['rounds'] == 2


def test_too_few_rounds():
    with pytest.raises(UserError, match='--rounds 29: a measurement has at least 30'):
        rounds.Settings(rounds=29).check()
    with pytest.raises(UserError, match='--rounds 0'):
        rounds.Settings(rounds=0, trial=True).check()
    with pytest.raises(UserError, match='--warm-up -1'):
        rounds.Settings(warm_up=-1).check()
    rounds.Settings(rounds=30, warm_up=0).check()


def test_matrix_product():
    multiply, macs = rounds.multiply_matrices(edge=16)
    assert macs == 4096
    assert multiply() is None
