"""Latency: turns and their statistics."""

from types import SimpleNamespace

import pytest

from mmrapidnet.apis import latency


class Clock:
    """A clock that only calls move, and a log of what happened."""

    def __init__(self):
        self.now, self.log = 0.0, []

    def read(self):
        return self.now

    def call(self, name, *seconds):
        """A call that takes as long as is said for each, the last for all later."""
        durations = list(seconds)

        def call():
            self.log.append(name)
            self.now += durations.pop(0) if len(durations) > 1 else durations[0]

        return call

    def settle(self):
        self.log.append('settle')
        return True


def test_percentiles_by_hand():
    timing = latency.Timing((0.3, 0.1, 0.4, 0.2))
    # Between the third and the fourth, the first and the second, ... of them sorted.
    assert timing.median == pytest.approx(0.25)
    assert timing.p10 == pytest.approx(0.13)
    assert timing.p90 == pytest.approx(0.37)


def test_calls_take_turns():
    clock = Clock()
    calls = dict(short=clock.call('short', 0.25), long=clock.call('long', 0.75))
    measured = latency.interleave(calls, 2, 1, clock.settle, clock.read)
    one_round = ['settle', 'short', 'short', 'settle', 'long']
    assert clock.log == ['short', 'long', *one_round, *one_round]
    assert measured.timings['short'].seconds == (0.25, 0.25)
    assert measured.timings['long'].seconds == (0.75, 0.75)
    assert measured.unsettled == 0


def test_only_every_second_call_of_a_turn_is_timed():
    clock = Clock()
    # Two to warm up, then one not timed, one timed, ...
    call = clock.call('a', 9.0, 0.1, 0.2, 0.3, 0.2, 0.4)
    measured = latency.interleave({'a': call}, 2, 2, clock.settle, clock.read)
    assert measured.timings['a'].seconds == pytest.approx((0.3, 0.4))


def test_what_another_process_runs_is_timed_there(monkeypatch):
    """Without what passes between the two; it rests before the next has its turn."""
    clock = Clock()

    class Session:
        def __init__(self, name, *seconds):
            self.run = clock.call(name, *seconds)

        def do(self, function, *arguments):
            clock.now += 5.0
            result = function(lambda image: self.run(), *arguments)
            clock.now += 5.0
            return result

    monkeypatch.setattr(latency, 'settle_down', lambda: clock.log.append('rest'))
    monkeypatch.setattr(latency, 'time', SimpleNamespace(perf_counter=clock.read))
    calls = {
        'file': latency.IsolatedCall(Session('file', 0.1, 0.2, 0.3), 'image'),
        'slow': latency.IsolatedCall(Session('slow', 0.75), 'image'),
        'here': clock.call('here', 0.25),
    }
    measured = latency.interleave(calls, 1, 1, clock.settle, clock.read)
    assert clock.log == [
        *('file', 'slow', 'here'),
        *('settle', 'file', 'file', 'rest', 'settle', 'slow', 'rest'),
        *('settle', 'here', 'here'),
    ]
    seconds = {name: timing.seconds for name, timing in measured.timings.items()}
    assert seconds['file'] == pytest.approx((0.3,))
    assert seconds['slow'] == pytest.approx((0.75,))
    assert seconds['here'] == (0.25,)


def test_turns_that_begin_with_others_at_work_are_counted():
    states = iter([True, False, False, True])
    calls = dict(a=lambda: None, b=lambda: None)
    measured = latency.interleave(calls, 2, 0, lambda: next(states))
    assert measured.unsettled == 2


@pytest.mark.parametrize(
    ('busy_for', 'settles', 'waited'),
    [(0, True, 0.01), (3, True, 0.04), (99, False, 0.5)],
)
def test_settling_down(monkeypatch, busy_for, settles, waited):
    """Threads that use a core for some steps of 10 ms, as idle pools do."""
    now, used, steps = [0.0], [0.0], [0]

    def sleep(seconds):
        now[0] += seconds
        used[0] += seconds if steps[0] < busy_for else 0
        steps[0] += 1

    clock = dict(perf_counter=lambda: now[0], process_time=lambda: used[0], sleep=sleep)
    monkeypatch.setattr(latency, 'time', SimpleNamespace(**clock))
    assert latency.settle_down() is settles
    assert now[0] == pytest.approx(waited, abs=0.011)
