"""The old name of `mmrapidnet.engine.hooks.broadcast_buffers`."""

from mmengine.registry import HOOKS

from mmrapidnet.engine.hooks.broadcast_buffers import BroadcastBuffersHook
from mmrapidnet.utils.deprecation import warn_renamed

warn_renamed(__name__, 'mmrapidnet.engine.hooks.broadcast_buffers')


@HOOKS.register_module()
class SameBuffersHook(BroadcastBuffersHook):
    """The old name of `BroadcastBuffersHook`."""
