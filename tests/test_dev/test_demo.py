"""The demo: the whole of it on a few images, for two iterations."""

from pathlib import Path

import cv2
import pytest
from helpers.commands import REPO, assert_one_line_error
from helpers.tool_server import fork_tool

from dev import demo, shapes_jobs
from mmrapidnet.utils.errors import UserError


@pytest.fixture
def forked_tools(monkeypatch):
    """Let the steps run in forks; gives their arguments by name of the tool."""
    calls = {}

    def run(tool: Path, arguments, log: Path) -> None:
        calls[tool.name] = [str(part) for part in arguments]
        done = fork_tool(tool.name, *arguments)
        log.write_text(done.stdout + done.stderr)
        assert done.returncode == 0, done.stderr[-3000:]

    monkeypatch.setattr(shapes_jobs, 'run_tool', run)
    return calls


def test_demo(forked_tools, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(demo, 'SPLITS', {'train': 16, 'val': 2})
    out = tmp_path / 'out'
    demo.demo(REPO, tmp_path / 'shapes', out, iters=2)
    assert (out / 'semfpn' / 'iter_2.pth').is_file()
    # Two held-out images side by side, ground truth and prediction each.
    assert cv2.imread(str(out / 'predictions.png')).shape == (192 + 6, 2 * 390, 3)
    *_, loss, picture, what_next = capsys.readouterr().out.splitlines()
    before, after = map(float, loss.removeprefix('loss ').split(' -> '))
    assert before > 1 and after > 1  # of 7 classes, untrained: ln 7 = 1.9
    assert picture.endswith(f'(right): {out / "predictions.png"}')
    assert '`make quickstart`' in what_next and 'docs/own_data.md' in what_next
    assert 'train_cfg.max_iters=2' in forked_tools['train.py']
    # What the settings name is there: none is misspelt.
    assert not any('it is added' in log.read_text() for log in out.glob('*.log'))


def test_demo_keeps_what_it_did_not_make(tmp_path):
    mine = tmp_path / 'mine'
    mine.mkdir()
    (mine / 'code.py').touch()
    done = fork_tool('dev/demo.py', '--data-root', tmp_path / 'data', '--out', mine)
    assert_one_line_error(done, 'mine is not emptied')
    assert (mine / 'code.py').exists() and not (tmp_path / 'data').exists()


def test_too_short(tmp_path):
    with pytest.raises(UserError, match='--iters 1: give at least 2'):
        demo.demo(REPO, tmp_path / 'data', tmp_path / 'out', iters=1)
    assert not list(tmp_path.iterdir())
