"""What a run reports at its end: the file, the table, and which validation."""

import json

import numpy as np
import pytest
import torch
from helpers import mini_run
from mmengine.evaluator import Evaluator

from mmrapidnet.apis.report import report_metrics
from mmrapidnet.checkpoints.safe_load.load import load
from mmrapidnet.engine.hooks.checkpoint import DurableCheckpointHook
from mmrapidnet.engine.hooks.last_validation import (
    LastValidationHook,
    read_last_validation,
)
from mmrapidnet.utils.errors import UserError


class Fading(mini_run.TargetSum):
    """Gives a second metric in the first validation only."""

    validations = 0

    def compute_metrics(self, results):
        self.validations += 1
        first = {'once': 1.0} if self.validations == 1 else {}
        return {**super().compute_metrics(results), **first, 'absent': float('nan')}


def build(work_dir, **options):
    runner = mini_run.build_runner(
        work_dir, val_evaluator=Evaluator(Fading()), **options
    )
    runner.register_hook(LastValidationHook())
    return runner


def test_the_last_validation_alone_counts_also_after_a_resumption(tmp_path):
    runner = build(tmp_path)
    runner.train()
    assert read_last_validation(runner) == ({'sum': 28.0, 'absent': None}, [])
    assert runner.message_hub.get_scalar('val/once').current() == 1.0
    # What a resumed run knows: the checkpoint of epoch 2 is from before its validation.
    hub = load(tmp_path / 'epoch_2.pth')['message_hub']
    runner.message_hub.load_state_dict(hub)
    first = {'sum': 28.0, 'once': 1.0, 'absent': None}
    assert read_last_validation(runner) == (first, [])


def test_no_validation_is_no_metrics(tmp_path):
    assert read_last_validation(build(tmp_path)) == ({}, [])


def test_best_by_a_metric_that_is_not_measured(tmp_path):
    hook = dict(type=DurableCheckpointHook, interval=1, save_best='mIuO', rule='less')
    runner = build(tmp_path, default_hooks={'checkpoint': hook})
    message = (
        'save_best=mIuO: the validation measures sum, once, absent: choose one of them'
    )
    with pytest.raises(UserError, match=message):
        runner.train()


def test_the_file_is_json_whatever_is_measured(tmp_path, capsys):
    metrics = {
        'mIoU': np.float32(0.5),
        'dog_precision': float('nan'),
        'bird_precision': None,
        'worst': -np.inf,
        'per_class': np.array([1.0, np.nan]),
        'matrix': torch.tensor([[1, 2], [3, 4]]),
    }
    report_metrics(metrics, str(tmp_path), 'test', iter=4, checkpoint='a.pth')

    def refuse(constant):
        raise AssertionError(constant)

    text = (tmp_path / 'metrics.json').read_text()
    assert json.loads(text, parse_constant=refuse) == {
        'iter': 4,
        'checkpoint': 'a.pth',
        'metrics': {
            'mIoU': 0.5,
            'dog_precision': None,
            'bird_precision': None,
            'worst': None,
            'per_class': [1.0, None],
            'matrix': [[1, 2], [3, 4]],
        },
    }
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ['│', 'mIoU', '│', '0.5000', '│'] in rows
    assert ['│', 'dog_precision', '│', '-', '│'] in rows
    assert ['│', 'bird_precision', '│', '-', '│'] in rows
