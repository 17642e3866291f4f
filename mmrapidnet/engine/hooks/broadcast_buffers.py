"""The same running statistics in every process that validates.

Importing this module registers the hook; in a config::

    custom_imports = dict(
        imports=['mmrapidnet', 'mmrapidnet.engine.hooks.broadcast_buffers']
    )
    custom_hooks = [dict(type='BroadcastBuffersHook')]
"""

from __future__ import annotations

from mmengine.dist import broadcast
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner


# The second name is the one it had before.
@HOOKS.register_module(name=['BroadcastBuffersHook', 'SameBuffersHook'])
class BroadcastBuffersHook(Hook):
    """Gives all processes the buffers of the first before they validate.

    Batch normalisation that is not synchronised has running statistics of its own in
    each process, and a checkpoint holds the first one's.  With the hook all images are
    validated by the model of the checkpoint, whatever process they fall to.  mmengine's
    ``SyncBuffersHook`` averages the buffers instead: a model that no checkpoint holds.
    """

    # After the hooks that put averaged weights in place.
    priority = 'BELOW_NORMAL'

    def before_val_epoch(self, runner: Runner) -> None:
        """Take over the buffers."""
        for buffer in runner.model.buffers():
            broadcast(buffer)


SameBuffersHook = BroadcastBuffersHook
