"""Parts of training recipes that mmengine lacks.

Register them in a config with
``custom_imports = dict(imports=['mmrapidnet', 'mmrapidnet.optim'])``.
"""

from mmrapidnet.optim.adaptive_clipping import AdaptiveGradientClippingHook
from mmrapidnet.optim.warmup_cosine import WarmupCosineLR

__all__ = [
    'AdaptiveGradientClippingHook',
    'WarmupCosineLR',
]
