"""A case that measures nothing, and made-up results."""

from dataclasses import dataclass

from dev.benchmark import rounds
from dev.benchmark.cases import Case
from dev.benchmark.runtimes import RUNTIMES
from dev.model_zoo.classifiers import Complexity
from mmrapidnet.apis.latency import Timing


@dataclass(frozen=True)
class Fake(Case):
    """A case whose call takes no time and gives a number."""

    task = 'fake'

    def _open(self):
        return lambda: 7

    def complexity(self):
        return Complexity(1_500_000, 2_000_000_000)

    def describe(self, result):
        return {'result': result}


def fake(model='a', runtime='eager', size=(8, 8), batch=1):
    return Fake(model, RUNTIMES[runtime], size, batch, 'cpu', 1, 'nowhere')


def make_row():
    """One second, a tenth of them less than 0.8; a baseline that takes three."""
    return rounds.make_row(
        'A table',
        fake(runtime='fused', batch=4),
        Timing((0.5, 1.0, 2.0)),
        baseline='a/eager',
        baseline_seconds=3.0,
        cost=Complexity(1_500_000, 2_000_000_000),
        peak=32e9,
        memory=12_345_678,
        found={'detections': 3},
    )


def make_record(row):
    """The record of a trial that measured one row."""
    settings = dict(rounds=3, warm_up=1, trial=True, int8_calibration='on noise')
    machine = dict(name='A Machine', system='An OS', device='cpu')
    versions = dict(torch='2.0', ncnn='1.0', rich='9')
    return dict(
        command='a command',
        machine=machine,
        versions=versions,
        settings=settings,
        missing={},
        rows=[row],
    )
