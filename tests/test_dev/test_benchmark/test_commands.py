"""The command line that measures: what it writes, and its mistakes in one line."""

import json
import sys

import pytest
from helpers.commands import REPO, assert_one_line_error
from helpers.tool_server import fork_tool

from dev.benchmark import __main__ as tool
from mmrapidnet.apis.cli import main_guard

QUICK = ('--rounds', '2', '--warm-up', '1', '--trial', '--no-memory', '--threads', '1')


@pytest.fixture
def run(monkeypatch, capsys):
    """Run the tool in this process, returning its exit status and its streams."""

    def run(*arguments):
        argv = ['benchmark.py', *map(str, arguments)]
        monkeypatch.setattr(sys, 'argv', argv)
        try:
            main_guard(tool.main)
            status = 0
        except SystemExit as end:
            status = end.code
        return status, *capsys.readouterr()

    return run


def test_measures_classifiers(tmp_path, run):
    status, out, err = run(
        'classifiers',
        '--models',
        'repvit_m0_6',
        '--runtimes',
        'eager',
        'fused-channels_last',
        '--sizes',
        '32',
        '--batches',
        '1',
        '2',
        '--out',
        tmp_path,
        *QUICK,
    )
    assert status == 0, out + err
    assert 'A TRIAL' in out
    assert 'fused-channels_last' in out
    record = json.loads((tmp_path / 'benchmark.json').read_text())
    assert record['command'].startswith('python -m dev.benchmark classifiers ')
    assert record['machine']['device'] == 'cpu'
    assert record['machine']['threads'] == 1
    assert record['settings']['trial'] is True
    rows = record['rows']
    assert [(row['runtime'], row['batch'], row['fused']) for row in rows] == [
        ('eager', 1, False),
        ('fused-channels_last', 1, True),
        ('eager', 2, False),
        ('fused-channels_last', 2, True),
    ]
    for row in rows:
        assert row['size'] == [32, 32]
        assert round(row['params'] / 1e6, 3) == 2.809
        assert len(row['seconds']) == 2
        assert row['p10_ms'] <= row['median_ms'] <= row['p90_ms']
        assert row['baseline'] == 'repvit_m0_6/eager'
        assert 0 < row['peak_share'] < 10
    assert rows[0]['ratio'] == rows[2]['ratio'] == 1
    tables = (tmp_path / 'benchmark.md').read_text()
    assert tables.count('| repvit_m0_6 |') == 4

    status, out, _ = run('tables', tmp_path / 'benchmark.json')
    assert status == 0
    assert out.count(' repvit_m0_6   ') == 4
    picture = tmp_path / 'figure.png'
    status, out, _ = run(
        'plot', tmp_path / 'benchmark.json', '--out', picture, '--size', '32'
    )
    assert status == 0
    assert picture.read_bytes().startswith(b'\x89PNG')


def test_mistakes_end_in_one_line():
    done = fork_tool(
        'dev/benchmark/__main__.py', 'classifiers', '--models', 'rapidnet_xl', *QUICK
    )
    assert_one_line_error(done, "unknown model 'rapidnet_xl'", 'rapidnet_ti')


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (('classifiers', '--runtimes', 'swift', *QUICK), "unknown runtime 'swift'"),
        (('classifiers', '--rounds', '5'), '--rounds 5: a measurement has at least 30'),
        (
            ('classifiers', '--runtimes', 'fused', *QUICK),
            '--baseline eager: rapidnet_ti/fused has nothing of that name',
        ),
        (('dense', 'none.py', *QUICK), 'there is no config none.py'),
        (
            ('train', 'configs/semfpn_rapidnet_ti_shapes.py', '--runtimes', 'fused'),
            'fused is for evaluation only',
        ),
        (('plot', 'none.json', '--out', 'a.png'), 'there is no none.json'),
        (('tables', 'none.json'), 'there is no none.json'),
        (('whole', '--checkpoint', 'a=b'), '--checkpoint a=b: write CONFIG=FILE'),
        (('whole', '--models', 'yolo', *QUICK), '--models yolo: choose some of'),
        (('whole', '--into', 'none.md'), 'there is no page none.md'),
        (('page', '--into', 'none.md'), 'there is no page none.md'),
    ],
)
def test_mistakes(run, arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(REPO)
    if arguments[0] not in ('plot', 'tables'):
        arguments = (*arguments, '--out', tmp_path)
    status, _, err = run(*arguments)
    assert status == 1
    assert err.startswith(f'error: {message}')
    assert len(err.splitlines()) == 1
