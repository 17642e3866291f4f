"""The quickstart: its parts quickly, the whole of it in `make test-all`."""

import json
import shutil

import pytest
from helpers.commands import REPO, assert_one_line_error, run_tool

from dev.quickstart import DRAWN, JOBS
from mmrapidnet.config.load import load_config


def test_a_step_that_fails_is_named(tmp_path):
    """A folder in the way of the data set, and a config that is not there."""
    (tmp_path / 'shapes').write_text('')
    where = ('--data-root', tmp_path / 'shapes', '--out', tmp_path / 'out')
    done = run_tool('dev/quickstart.py', *where)
    assert_one_line_error(done, 'shapes')


@pytest.mark.parametrize('job', JOBS, ids=lambda job: job.name)
def test_the_first_images_are_a_setting_of_the_configs(job):
    """None that is added, of which a newcomer would be warned."""
    name = str(REPO / 'configs' / job.config)
    assert load_config(name).test_dataloader.dataset['indices'] is None
    cfg = load_config(name, {'test_dataloader.dataset.indices': DRAWN})
    assert cfg.test_dataloader.dataset.indices == DRAWN


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
        done = run_tool('dev/quickstart.py', *where, timeout=3600)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        for name in ('maskrcnn', 'semfpn'):
            assert (out / f'predictions_{name}.png').stat().st_size > 10_000
            assert (out / f'curves_{name}.png').stat().st_size > 10_000
            drawn = out / f'{name}_pictures' / 'drawn'
            assert len(list(drawn.rglob('*.jpg'))) == DRAWN
        for log in out.glob('*.log'):
            assert '--cfg-options' not in log.read_text(), log.name  # no warning
        tables.append(table_of(out))
        for label, value in tables[-1].items():
            assert f'{value:.3f}' in done.stdout, label
        shutil.rmtree(out)
    assert tables[0] == tables[1]
    assert tables[0]['mask mAP'] >= 0.45
    assert tables[0]['box mAP'] >= 0.45
    assert tables[0]['mIoU'] >= 0.60
