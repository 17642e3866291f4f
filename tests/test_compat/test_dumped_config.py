"""A run's copy of its config, and the file that was given."""

import os
from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.runner import Runner
from torch import nn


def run_in(work_dir: Path, config: Path) -> Path:
    """Build a runner with another seed than the config's; returns its log's folder."""
    cfg = Config.fromfile(config)
    cfg.seed = 2
    runner = Runner(
        nn.Linear(2, 2), str(work_dir), cfg=cfg, experiment_name=str(work_dir)
    )
    return Path(runner.log_dir)


def write(path: Path) -> Path:
    path.parent.mkdir()
    path.write_text('seed = 1  # mine\n')
    return path


@pytest.mark.parametrize('link', [None, os.symlink, os.link])
def test_the_file_that_was_given_is_kept(link, tmp_path):
    config = write(tmp_path / 'mine' / 'my_own.py')
    if link:
        work_dir = tmp_path / 'run'
        work_dir.mkdir()
        link(config, work_dir / config.name)
    else:
        work_dir = config.parent
    log_dir = run_in(work_dir, config)
    assert config.read_text() == 'seed = 1  # mine\n'
    assert log_dir.parent == work_dir
    assert Config.fromfile(log_dir / 'my_own.py').seed == 2


def test_other_copies_are_where_they_always_were(tmp_path):
    config = write(tmp_path / 'configs' / 'my_own.py')
    copy = write(tmp_path / 'run' / 'my_own.py')
    log_dir = run_in(copy.parent, config)
    assert Config.fromfile(copy).seed == 2
    assert not (log_dir / 'my_own.py').exists()
    assert config.read_text() == 'seed = 1  # mine\n'
