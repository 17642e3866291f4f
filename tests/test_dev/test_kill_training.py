"""The command that kills a training again and again."""

import json
import re

import pytest
import torch
from helpers.commands import REPO, assert_one_line_error, run_tool
from helpers.killed_runs import LAYOUTS
from helpers.tiny_models import write_config
from helpers.tool_server import fork_tool

from dev.kill_training import check_resume, compare_ends
from mmrapidnet.utils.errors import UserError

SHORT = (
    'train_cfg.max_iters=16',
    'train_cfg.val_interval=8',
    'default_hooks.checkpoint.interval=1',
    'train_dataloader.batch_size=2',
)


@pytest.mark.slow
@pytest.mark.parametrize('kind', ['detector', 'segmenter'])
def test_five_kills(kind, shapes_root, tmp_path):
    done = run_tool(
        'dev/kill_training.py',
        write_config(kind, tmp_path),
        '--kills',
        '5',
        '--out',
        tmp_path / 'out',
        '--data-root',
        shapes_root / LAYOUTS[kind],
        '--cfg-options',
        *SHORT,
        timeout=3600,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    rows = re.findall(
        r'│ (\d) +│ (\w+) +│ +[\d.]+ +│ (yes)? +│ ([\w. ]+?) *│', done.stdout
    )
    assert [row[0] for row in rows] == list('12345')
    assert [row[1] for row in rows] == [
        'training',
        'writing',
        'starting',
        'writing',
        'training',
    ]
    assert any(partial for _, _, partial, _ in rows)
    assert re.search(
        r'are equal in every bit of \d{3,} values; \d+ metrics', done.stdout
    )


def test_a_run_that_fails(tmp_path):
    with pytest.raises(UserError, match='--kills 0: give at least 1'):
        check_resume(REPO, 'nowhere.py', tmp_path, kills=0)
    done = fork_tool('dev/kill_training.py', 'nowhere.py', '--out', tmp_path)
    assert_one_line_error(
        done,
        'tools/train.py failed: error: there is no config nowhere.py',
        'undisturbed/life_000.txt',
    )


@pytest.mark.parametrize(
    ('step', 'weight', 'metric', 'message'),
    [
        (4, 1.0, 0.5, None),
        (4, 2.0, 0.5, r'differ in 1 values: state_dict\.a'),
        (3, 1.0, 0.5, r'iter_4.pth and \S+iter_3.pth differ in 0 values'),
        (4, 1.0, 0.6, r"the metrics differ: {'mIoU': 0.5} and {'mIoU': 0.6}"),
    ],
)
def test_a_difference_is_found(step, weight, metric, message, tmp_path, capsys):
    runs = (('whole', 4, 1.0, 0.5), ('torn', step, weight, metric))
    for name, step, weight, metric in runs:
        folder = tmp_path / name
        folder.mkdir()
        checkpoint = folder / f'iter_{step}.pth'
        torch.save(dict(state_dict=dict(a=torch.tensor(weight)), meta={}), checkpoint)
        (folder / 'last_checkpoint').write_text(str(checkpoint))
        record = dict(metrics=dict(mIoU=metric))
        (folder / 'metrics.json').write_text(json.dumps(record))
    if message is None:
        compare_ends(tmp_path / 'whole', tmp_path / 'torn')
        assert (
            'are equal in every bit of 1 values; 1 metrics' in capsys.readouterr().out
        )
    else:
        with pytest.raises(UserError, match=message):
            compare_ends(tmp_path / 'whole', tmp_path / 'torn')
