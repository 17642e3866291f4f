"""Commands as steps: their progress, their logs and their failures."""

import pytest

from dev.subprocess_steps import describe_progress, match_progress, relpath, run_tool
from mmrapidnet.utils.errors import UserError


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


def test_output_is_logged_and_progress_shown(tmp_path, capsys):
    tool = tmp_path / 'tool.py'
    tool.write_text(
        'import sys\n'
        'print("config", sys.argv[1])\n'
        'print("Iter(train) [ 1/2]  loss: 0.5")\n'
    )
    run_tool(tool, ['some.py'], tmp_path / 'tool.log')
    log = (tmp_path / 'tool.log').read_text()
    assert log == 'config some.py\nIter(train) [ 1/2]  loss: 0.5\n'
    command, progress = capsys.readouterr().out.splitlines()
    assert command.startswith('  $ ') and command.endswith('tool.py some.py')
    assert progress == '    train     1/2  loss 0.5'


def test_a_failure_names_its_last_line_and_its_log(tmp_path):
    tool = tmp_path / 'tool.py'
    tool.write_text('import sys\nprint("first")\nprint()\nsys.exit("no memory")\n')
    log = tmp_path / 'tool.log'
    message = rf'^tool.py some.py failed: no memory \(see {log}\)$'
    with pytest.raises(UserError, match=message):
        run_tool(tool, [tmp_path / 'some.py'], log)


def test_paths_are_shown_from_where_the_user_stands(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert relpath(tmp_path / 'a' / 'b') == 'a/b'
    assert relpath(tmp_path.parent) == str(tmp_path.parent)
    assert relpath('--option') == '--option'
