"""The old name of `mmrapidnet.engine.hooks.channels_last`."""

from mmrapidnet.engine.hooks.channels_last import ChannelsLastHook
from mmrapidnet.utils.deprecation import warn_renamed

__all__ = ['ChannelsLastHook']

warn_renamed(__name__, 'mmrapidnet.engine.hooks.channels_last')
