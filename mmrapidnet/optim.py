"""The old place of a scheduler and a hook of `mmrapidnet.engine`."""

from mmrapidnet.engine.hooks.adaptive_grad_clip import AdaptiveGradientClippingHook
from mmrapidnet.engine.schedulers import WarmupCosineLR
from mmrapidnet.utils.deprecation import warn_renamed

__all__ = ['AdaptiveGradientClippingHook', 'WarmupCosineLR']

warn_renamed(
    __name__,
    'mmrapidnet.engine.schedulers and mmrapidnet.engine.hooks.adaptive_grad_clip',
)
