"""Checkpoints compared bit by bit."""

import pytest
import torch

from dev.compare_checkpoints import list_differences

STEP = torch.tensor(3.0)


def content(weight, step=STEP, rate=0.1):
    return dict(
        meta=dict(time='now'),
        message_hub={},
        state_dict=dict(w=weight, b=torch.zeros(2)),
        optimizer=dict(state={0: dict(step=step)}, param_groups=[dict(lr=rate)]),
    )


def test_equal():
    nan = torch.tensor([1.0, float('nan')])
    other = {**content(nan.clone()), 'meta': dict(time='later')}
    assert list_differences(content(nan), other) == []


@pytest.mark.parametrize(
    ('other', 'names'),
    [
        (content(torch.tensor([1.0, -0.0])), ['state_dict.w']),
        (content(torch.tensor([1.0, 1e-45])), ['state_dict.w']),
        (content(torch.tensor([[1.0, 0.0]])), ['state_dict.w']),
        (content(torch.tensor([1, 0])), ['state_dict.w']),
        (
            content(torch.tensor([1.0, 0.0]), torch.tensor(4.0), 0.2),
            ['optimizer.state.0.step', 'optimizer.param_groups.0.lr'],
        ),
        (content(torch.tensor([1.0, 0.0]), 3.0), ['optimizer.state.0.step']),
        (
            {**content(torch.tensor([1.0, 0.0])), 'ema_state_dict': dict(x=1)},
            ['ema_state_dict.x'],
        ),
    ],
)
def test_different(other, names):
    one = content(torch.tensor([1.0, 0.0]))
    assert list_differences(one, other) == names
    assert list_differences(other, one) == names
