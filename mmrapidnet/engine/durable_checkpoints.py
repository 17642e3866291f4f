"""The old name of `mmrapidnet.engine.hooks.checkpoint`."""

from mmrapidnet.engine.hooks.checkpoint import DurableCheckpointHook, WholeFilesBackend
from mmrapidnet.utils.deprecation import warn_renamed

__all__ = ['DurableCheckpointHook', 'WholeFilesBackend']

warn_renamed(__name__, 'mmrapidnet.engine.hooks.checkpoint')
