"""The fuzz run itself: what it draws, what it holds commands to, and a short one."""

import random

import psutil
import pytest
from conftest import REPO, assert_one_line_error, run_tool

from mmrapidnet.errors import UserError
from mmrapidnet.fuzz import session
from mmrapidnet.fuzz.cases import draw_case
from mmrapidnet.fuzz.damage import DAMAGES
from mmrapidnet.fuzz.forked import Outcome, run_forked
from mmrapidnet.fuzz.samples import Samples


@pytest.mark.parametrize(
    ('status', 'output', 'fault'),
    [
        (0, 'written to x', None),
        (1, 'loading\nerror: no such file', None),
        (2, 'usage: x.py\nx.py: error: no', None),
        (1, 'no such file', 'status 1 with 0 lines of error'),
        (1, 'error: a\nerror: b', 'status 1 with 2 lines of error'),
        (0, 'error: a', 'error told, but status 0'),
        (
            1,
            'Traceback (most recent call last):\nKeyError: 1',
            'traceback: KeyError: 1',
        ),
        (-11, '', 'ended by SIGSEGV'),
        (None, '', 'not done after 9 s'),
    ],
)
def test_what_commands_are_held_to(status, output, fault):
    assert Outcome(status, output, 9.0).fault == fault


@pytest.mark.parametrize('damage', DAMAGES, ids=lambda damage: damage.__name__)
@pytest.mark.parametrize('content', [b'', b'a', bytes(range(256)) * 40])
def test_damage_is_the_same_for_the_same_seed(damage, content):
    others = [b'other', b'']
    seeds = range(20)
    results = [damage(content, random.Random(seed), others) for seed in seeds]
    assert results == [damage(content, random.Random(seed), others) for seed in seeds]
    assert all(isinstance(result, bytes) for result in results)
    if content:
        assert any(result != content for result in results)


def test_a_case_is_the_same_for_the_same_seed(tmp_path):
    files = {}
    for kind in ('config', 'checkpoint', 'image', 'results'):
        path = tmp_path / f'{kind}.x'
        path.write_bytes(kind.encode() * 100)
        files[kind] = (path,)
    samples = Samples(files, tmp_path / 'data')

    def draw(seed, number):
        place = tmp_path / 'place'
        place.mkdir()
        case = draw_case(seed, number, samples, place)
        content = {path.name: path.read_bytes() for path in place.iterdir()}
        for path in place.iterdir():
            path.unlink()
        place.rmdir()
        return case, content

    cases = [draw(0, number) for number in range(60)]
    assert cases == [draw(0, number) for number in range(60)]
    assert cases != [draw(1, number) for number in range(60)]
    assert len({case.tool for case, _ in cases}) >= 8
    assert any(case.damaged for case, _ in cases)


@pytest.mark.parametrize(
    ('script', 'fault'),
    [
        ('print("done")', None),
        ('raise SystemExit("error: no")', None),
        ('import sys; print("error: no", file=sys.stderr); sys.exit(1)', None),
        ('[][0]', 'traceback: IndexError: list index out of range'),
        ('import os, signal; os.kill(os.getpid(), signal.SIGTERM)', 'ended by SIGTERM'),
        ('import time; time.sleep(60)', 'not done after 2 s'),
    ],
)
def test_a_fork_ends_as_the_script_does(tmp_path, script, fault):
    path = tmp_path / 'script.py'
    path.write_text(script)
    outcome = run_forked(path, ['a'], tmp_path, timeout=2)
    assert outcome.fault == fault


def test_workers_end_with_the_script(tmp_path):
    script, pid = tmp_path / 'script.py', tmp_path / 'pid'
    script.write_text(
        'import multiprocessing, time\n'
        'worker = multiprocessing.Process(target=time.sleep, args=[60], daemon=True)\n'
        f'worker.start(); open({str(pid)!r}, "w").write(str(worker.pid))\n'
    )
    assert run_forked(script, [], tmp_path, timeout=30).status == 0
    assert not psutil.pid_exists(int(pid.read_text()))


def test_a_short_run():
    done = run_tool('fuzz.py', '--runs', '3', '--seed', '7', '--no-exported')
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [line for line in done.stdout.splitlines() if '.py' in line]
    assert rows
    # Done and refused, and none that broke the promise.
    assert all(int(row.split('│')[4]) == 0 for row in rows)
    assert sum(int(row.split('│')[i]) for row in rows for i in (2, 3)) == 3


def test_a_broken_promise_is_told_with_how_to_repeat_it(monkeypatch, capsys):
    monkeypatch.setattr(session, 'import_libraries', lambda: None)
    monkeypatch.setattr(session, 'make_samples', lambda *_: None)
    monkeypatch.setattr(
        session, 'draw_case', lambda *_: session.Case('x.py', ['a b'], ['noise of c'])
    )
    monkeypatch.setattr(session, 'run_forked', lambda *_: Outcome(-9, '', 1.0))
    expected = (
        '3 of 3 commands broke the promise; again: '
        'python tools/fuzz.py --seed 5 --case 0$'
    )
    with pytest.raises(UserError, match=expected):
        session.run(REPO, runs=3, seconds=None, seed=5)
    told = capsys.readouterr().out
    assert 'case 1: ended by SIGKILL' in told
    assert "python tools/x.py 'a b'" in told
    assert 'noise of c' in told


def test_the_tool():
    assert_one_line_error(run_tool('fuzz.py', '--runs', '-1'), '--runs -1: give')
