"""The quickstart: its parts quickly, the whole of it in `make test-all`."""

import json
import shutil

import pytest
from conftest import assert_one_line_error, run_tool

from mmrapidnet.quickstart import JOBS, describe_progress, match_progress


@pytest.mark.parametrize(
    ('line', 'words'),
    [
        (
            '11/21 10:43:21 - mmengine - INFO - Iter(train) [1000/1200]  lr: 8.0147e-05'
            '  eta: 0:02:36  time: 0.8261  data_time: 0.0111  loss: 1.3333  acc: 9',
            'train  1000/1200  loss 1.3333  time left 0:02:36',
        ),
        (
            '11/21 - mmengine - INFO - Iter(train) [ 25/300]  lr: 1e-05  eta: 1 day, '
            '0:02:36  time: 1.0  loss: 0.5',
            'train    25/300  loss 0.5  time left 1 day, 0:02:36',
        ),
        (
            '11/21 - mmengine - INFO - Iter(test) [38/38]    coco/bbox_mAP: 0.2710',
            'test     38/38',
        ),
    ],
)
def test_progress(line, words):
    assert describe_progress(match_progress(line)) == words


def test_other_lines_are_no_progress():
    assert match_progress('11/21 - mmengine - INFO - Checkpoints will be saved') is None


def test_a_step_that_fails_is_named(tmp_path):
    """A folder in the way of the data set, and a config that is not there."""
    (tmp_path / 'shapes').write_text('')
    where = ('--data-root', tmp_path / 'shapes', '--out', tmp_path / 'out')
    done = run_tool('quickstart.py', *where)
    assert_one_line_error(done, 'shapes')


def table_of(out) -> dict[str, float]:
    values = {}
    for job in JOBS:
        record = json.loads((out / f'{job.name}_test' / 'metrics.json').read_text())
        for label, (metric, unit) in job.metrics.items():
            values[label] = record['metrics'][metric] / unit
    return values


@pytest.mark.slow
def test_quickstart_reaches_its_bars_twice_alike(tmp_path):
    tables = []
    for _ in range(2):
        out = tmp_path / 'out'
        where = ('--data-root', tmp_path / 'shapes', '--out', out)
        done = run_tool('quickstart.py', *where, timeout=3600)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        for name in ('maskrcnn', 'semfpn'):
            assert (out / f'predictions_{name}.png').stat().st_size > 10_000
            assert (out / f'curves_{name}.png').stat().st_size > 10_000
        tables.append(table_of(out))
        for label, value in tables[-1].items():
            assert f'{value:.3f}' in done.stdout, label
        shutil.rmtree(out)
    assert tables[0] == tables[1]
    assert tables[0]['mask mAP'] >= 0.45
    assert tables[0]['box mAP'] >= 0.45
    assert tables[0]['mIoU'] >= 0.60
