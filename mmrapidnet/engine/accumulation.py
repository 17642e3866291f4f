"""The old name of `mmrapidnet.engine.hooks.accumulation`."""

from mmrapidnet.engine.hooks.accumulation import GradientAccumulationHook
from mmrapidnet.utils.deprecation import warn_renamed

__all__ = ['GradientAccumulationHook']

warn_renamed(__name__, 'mmrapidnet.engine.hooks.accumulation')
