"""Heads that mmpretrain lacks; importing this package needs mmpretrain.

Register them in a config with
``custom_imports = dict(imports=['mmrapidnet', 'mmrapidnet.models.heads'])``.
"""

from mmrapidnet.models.heads.distilled_cls_head import DistilledClsHead

__all__ = ['DistilledClsHead']
