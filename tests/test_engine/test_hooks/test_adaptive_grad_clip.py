"""Adaptive gradient clipping against timm's, and by hand."""

from copy import deepcopy
from types import SimpleNamespace

import pytest
import torch
from mmengine.optim import OptimWrapper
from timm.utils import adaptive_clip_grad
from torch import nn

from mmrapidnet.engine.hooks.adaptive_grad_clip import AdaptiveGradientClippingHook
from mmrapidnet.utils.errors import UserError


def network() -> nn.Module:
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 6, 3, groups=3), nn.BatchNorm2d(6), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(6 * 36, 4))


def loss(model: nn.Module, seed: int = 1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return model(torch.randn(2, 3, 8, 8, generator=generator) * 5).square().sum()


def install(model, wrapper=None, **arguments):
    """Start training as mmengine's runner does; returns the wrapper."""
    wrapper = wrapper or OptimWrapper(torch.optim.SGD(model.parameters(), lr=1.0))
    hook = AdaptiveGradientClippingHook(**arguments)
    hook.before_train(SimpleNamespace(model=model, optim_wrapper=wrapper))
    return wrapper


def clipped_by_timm(model, losses, exclude=(), **arguments) -> dict:
    """The weights after a step of SGD at rate 1 on the sum of some losses."""
    model = deepcopy(model)
    sum(one(model) for one in losses).backward()
    named = dict(model.named_parameters())
    chosen = [p for name, p in named.items() if name not in exclude]
    adaptive_clip_grad(chosen, **arguments)
    return {name: p.detach() - p.grad for name, p in named.items()}


def assert_weights(model, wanted) -> None:
    for name, p in model.named_parameters():
        assert torch.allclose(p, wanted[name], atol=1e-7), name


def test_a_unit_by_hand():
    layer = nn.Linear(2, 2, bias=False)
    layer.weight.data = torch.tensor([[3.0, 4.0], [3.0, 4.0]])
    wrapper = install(layer, clip_factor=0.1)
    layer.weight.grad = torch.tensor([[0.0, 10.0], [0.3, 0.0]])
    wrapper.step()
    # Both weights are 5 long, so a gradient may be 0.5: one is cut, one is left.
    wanted = torch.tensor([[3.0, 3.5], [2.7, 4.0]])
    assert torch.allclose(layer.weight, wanted, atol=1e-6)


@pytest.mark.parametrize(
    'arguments',
    [dict(clip_factor=0.02), dict(clip_factor=0.02, eps=0.1, norm_type=1.0), dict()],
)
def test_as_timm(arguments):
    model = network()
    wanted = clipped_by_timm(model, [loss], **arguments)
    free = clipped_by_timm(model, [loss], clip_factor=1e9)
    wrapper = install(model, **arguments)
    wrapper.update_params(loss(model))
    assert_weights(model, wanted)
    assert not torch.allclose(free['3.weight'], wanted['3.weight'], atol=1e-3)


def test_what_is_left_out():
    model = network()
    wanted = clipped_by_timm(
        model, [loss], exclude=('3.weight', '3.bias'), clip_factor=0.02
    )
    wrapper = install(model, clip_factor=0.02, exclude=('3.',))
    wrapper.update_params(loss(model))
    assert_weights(model, wanted)


def test_accumulated_gradients_are_clipped_once():
    model = network().eval()
    wanted = clipped_by_timm(
        model,
        [lambda m: loss(m) / 2, lambda m: loss(m, 2) / 2],
        clip_factor=0.02,
    )
    sgd = torch.optim.SGD(model.parameters(), lr=1.0)
    wrapper = install(model, OptimWrapper(sgd, accumulative_counts=2), clip_factor=0.02)
    for seed in (1, 2):
        wrapper.update_params(loss(model, seed))
    assert_weights(model, wanted)


@pytest.mark.skipif(not hasattr(torch.amp, 'GradScaler'), reason='no scaler for CPUs')
def test_scaled_gradients_are_clipped_as_they_are():
    """As in mixed precision: the scaler takes its factor out first."""
    model = network()
    wanted = clipped_by_timm(model, [loss], clip_factor=0.02)
    wrapper = install(model, clip_factor=0.02)
    scaler = torch.amp.GradScaler('cpu', init_scale=1024.0)
    scaler.scale(loss(model)).backward()
    scaler.step(wrapper.optimizer)
    assert_weights(model, wanted)


def test_names_that_are_not_there():
    with pytest.raises(UserError, match=r'no parameter is called head\.\.\.'):
        install(network(), exclude=('head',))
