"""The learning rate at named epochs, by hand and against timm's scheduler."""

import math

import pytest
import torch
from mmengine.optim import OptimWrapper
from mmengine.registry import PARAM_SCHEDULERS
from timm.scheduler import CosineLRScheduler

from mmrapidnet.engine.schedulers import WarmupCosineLR
from mmrapidnet.utils.errors import UserError

# RapidNet's at 1024 images per step and at 128, RepViT's at 2048, and a short one.
RECIPES = {
    'rapidnet': dict(base=2e-3, warmup=20, end=300),
    'rapidnet, 128 images': dict(base=2e-3 / 8, warmup=20, end=300),
    'repvit': dict(base=4e-3, warmup=5, end=300),
    'short': dict(base=1e-3, warmup=2, end=7),
}


def optimizer_at(*rates: float) -> torch.optim.Optimizer:
    groups = [dict(params=[torch.zeros(1)], lr=rate) for rate in rates]
    return torch.optim.AdamW(groups)


def run(scheduler, optimizer, epochs: int) -> list[float]:
    """The rate in each epoch."""
    rates = []
    for _ in range(epochs):
        rates.append(optimizer.param_groups[0]['lr'])
        optimizer.step()
        scheduler.step()
    return rates


def build(optimizer, recipe, **kwargs) -> WarmupCosineLR:
    return PARAM_SCHEDULERS.build(
        dict(
            type='WarmupCosineLR',
            warmup=recipe['warmup'],
            warmup_lr=1e-6,
            eta_min=1e-5,
            end=recipe['end'],
            **kwargs,
        ),
        default_args=dict(optimizer=optimizer),
    )


@pytest.mark.parametrize('name', RECIPES)
def test_every_epoch_is_timms(name):
    recipe = RECIPES[name]
    optimizer = optimizer_at(recipe['base'])
    rates = run(build(optimizer, recipe), optimizer, recipe['end'])

    theirs = optimizer_at(recipe['base'])
    published = CosineLRScheduler(
        theirs,
        t_initial=recipe['end'],
        lr_min=1e-5,
        warmup_t=recipe['warmup'],
        warmup_lr_init=1e-6,
    )
    for epoch, rate in enumerate(rates):
        published.step(epoch)
        assert rate == pytest.approx(theirs.param_groups[0]['lr'], rel=1e-12), epoch


def test_named_epochs_by_hand():
    recipe = RECIPES['rapidnet']
    optimizer = optimizer_at(recipe['base'])
    rates = run(build(optimizer, recipe), optimizer, 300)
    assert rates[0] == 1e-6
    assert rates[1] == pytest.approx(1e-6 + 1.999e-3 / 20)
    assert rates[10] == pytest.approx((1e-6 + 2e-3) / 2)
    # The cosine has come down by then.
    assert rates[20] == pytest.approx(1e-5 + 1.99e-3 * (1 + math.cos(math.pi / 15)) / 2)
    assert max(rates) == rates[20] < 2e-3
    assert rates[150] == pytest.approx((2e-3 + 1e-5) / 2)
    assert rates[299] == pytest.approx(1.0054555e-5, rel=1e-6)


def test_every_group_has_its_own_rate():
    optimizer = optimizer_at(2e-3, 1e-3)
    scheduler = build(optimizer, RECIPES['rapidnet'])
    for _ in range(150):
        optimizer.step()
        scheduler.step()
    rates = [group['lr'] for group in optimizer.param_groups]
    assert rates == pytest.approx([1.005e-3, 5.05e-4])


def test_by_iteration_on_a_wrapper():
    optimizer = optimizer_at(1e-3)
    wrapper = OptimWrapper(optimizer)
    scheduler = build(wrapper, RECIPES['short'], by_epoch=False)
    assert not scheduler.by_epoch
    cosine = [(1 + math.cos(math.pi * t / 7)) / 2 for t in range(2, 7)]
    assert run(scheduler, wrapper, 7) == pytest.approx(
        [1e-6, (1e-6 + 1e-3) / 2, *(1e-5 + 9.9e-4 * part for part in cosine)]
    )


def test_goes_on_from_its_state():
    recipe = RECIPES['short']
    first = optimizer_at(1e-3)
    scheduler = build(first, recipe)
    rates = run(scheduler, first, 3)
    second = optimizer_at(1e-3)
    again = build(second, recipe)
    again.load_state_dict(scheduler.state_dict())
    second.load_state_dict(first.state_dict())
    rates += run(again, second, 4)
    whole = optimizer_at(1e-3)
    assert rates == run(build(whole, recipe), whole, 7)


def test_length_that_is_not_known():
    with pytest.raises(UserError, match='WarmupCosineLR needs the length of the train'):
        WarmupCosineLR(optimizer_at(1.0), warmup=1, warmup_lr=0.1, eta_min=0.0)
