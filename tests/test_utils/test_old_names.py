"""Names that configs and work dirs of an earlier version hold."""

import sys
from importlib import import_module

import pytest
from mmengine.config import Config
from mmengine.registry import HOOKS, LOOPS, PARAM_SCHEDULERS

from mmrapidnet.engine.hooks.broadcast_buffers import BroadcastBuffersHook

HOOK_MODULES = 'mmrapidnet.engine.hooks.'
# Old module: the new one, and what is registered by it.
OLD = {
    'mmrapidnet.engine.accumulation': (HOOK_MODULES + 'accumulation', ()),
    'mmrapidnet.engine.channels_last': (
        HOOK_MODULES + 'channels_last',
        ((HOOKS, 'ChannelsLastHook'),),
    ),
    'mmrapidnet.engine.durable_checkpoints': (
        HOOK_MODULES + 'checkpoint',
        ((HOOKS, 'DurableCheckpointHook'),),
    ),
    'mmrapidnet.engine.repeatable': (
        'mmrapidnet.engine.loops',
        ((LOOPS, 'RepeatableIterLoop'), (LOOPS, 'RepeatableEpochLoop')),
    ),
    'mmrapidnet.engine.same_buffers': (
        HOOK_MODULES + 'broadcast_buffers',
        ((HOOKS, 'SameBuffersHook'),),
    ),
    'mmrapidnet.optim': (
        'mmrapidnet.engine.schedulers',
        ((PARAM_SCHEDULERS, 'WarmupCosineLR'), (HOOKS, 'AdaptiveGradientClippingHook')),
    ),
    'mmrapidnet.compat.on': ('mmrapidnet.compat.patch_all', ()),
}


@pytest.mark.parametrize('old', OLD)
def test_an_old_module_warns_with_the_new_name(old):
    new, registered = OLD[old]
    again = sys.modules.pop(old, None) is not None
    if again:
        for registry, name in registered:
            if registry.get(name).__module__ == old:
                registry.module_dict.pop(name)
    with pytest.warns(FutureWarning, match=f'{old} is called {new}'):
        Config.fromstring(f"custom_imports = dict(imports=['{old}'])", '.py')
        import_module(old)
    for registry, name in registered:
        assert registry.get(name) is not None


def test_the_old_hook_is_the_new_one():
    import_module('mmrapidnet.engine.same_buffers')
    assert issubclass(HOOKS.get('SameBuffersHook'), BroadcastBuffersHook)
