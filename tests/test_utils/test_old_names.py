"""Names that configs and work dirs of an earlier version hold."""

import sys
from importlib import import_module

import pytest
from mmengine.config import Config
from mmengine.registry import HOOKS, LOOPS, PARAM_SCHEDULERS
from torch import nn

from mmrapidnet.engine import loops, schedulers
from mmrapidnet.engine.hooks import (
    accumulation,
    adaptive_grad_clip,
    broadcast_buffers,
    channels_last,
    checkpoint,
)
from mmrapidnet.models import reparam
from mmrapidnet.utils.deprecation import RENAMED

HOOK_MODULES = 'mmrapidnet.engine.hooks.'
# Old module: the new one, and what is registered under which name.
OLD = {
    'mmrapidnet.engine.accumulation': (
        HOOK_MODULES + 'accumulation',
        {'GradientAccumulationHook': accumulation.GradientAccumulationHook},
    ),
    'mmrapidnet.engine.channels_last': (
        HOOK_MODULES + 'channels_last',
        {'ChannelsLastHook': channels_last.ChannelsLastHook},
    ),
    'mmrapidnet.engine.durable_checkpoints': (
        HOOK_MODULES + 'checkpoint',
        {'DurableCheckpointHook': checkpoint.DurableCheckpointHook},
    ),
    'mmrapidnet.engine.repeatable': (
        'mmrapidnet.engine.loops',
        {
            'RepeatableIterLoop': loops.RepeatableIterLoop,
            'RepeatableEpochLoop': loops.RepeatableEpochLoop,
        },
    ),
    'mmrapidnet.engine.same_buffers': (
        HOOK_MODULES + 'broadcast_buffers',
        {'SameBuffersHook': broadcast_buffers.BroadcastBuffersHook},
    ),
    'mmrapidnet.optim': (
        'mmrapidnet.engine.schedulers and mmrapidnet.engine.hooks.adaptive_grad_clip',
        {
            'WarmupCosineLR': schedulers.WarmupCosineLR,
            'AdaptiveGradientClippingHook': (
                adaptive_grad_clip.AdaptiveGradientClippingHook
            ),
        },
    ),
    'mmrapidnet.compat.on': ('mmrapidnet.compat.patch_all', {}),
}


def test_all_old_names_are_here():
    assert set(OLD) == set(RENAMED)


@pytest.mark.parametrize('old', OLD)
def test_an_old_module_warns_with_the_new_name(old):
    new, registered = OLD[old]
    sys.modules.pop(old, None)
    with pytest.warns(FutureWarning, match=f'{old} is called {new} now'):
        Config.fromstring(f"custom_imports = dict(imports=['{old}'])", '.py')
    module = import_module(old)
    for name, content in registered.items():
        assert getattr(module, name) is content
        found = {registry.get(name) for registry in (HOOKS, LOOPS, PARAM_SCHEDULERS)}
        assert found == {content, None}


def test_the_warning_shows_the_line_of_the_import():
    sys.modules.pop('mmrapidnet.compat.on', None)
    with pytest.warns(FutureWarning, match='mmrapidnet.compat.on is called') as found:
        exec(compile('\nimport mmrapidnet.compat.on', 'own.py', 'exec'))
    assert [(warning.filename, warning.lineno) for warning in found] == [('own.py', 2)]


def test_an_old_function_warns_with_the_new_name():
    layer = nn.Sequential(nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2)).eval()
    with pytest.warns(FutureWarning, match='fold_all is called reparameterize now'):
        merged = reparam.fold_all(layer)
    assert not any(isinstance(m, nn.BatchNorm2d) for m in merged.modules())
