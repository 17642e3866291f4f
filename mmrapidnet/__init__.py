"""RapidNet and kin for OpenMMLab: importing this package registers the backbones.

It needs torch, mmengine and mmcv only.  Put it into a config as
``custom_imports = dict(imports=['mmrapidnet'])``.
"""

from mmrapidnet import models  # noqa: F401  (registers the backbones)
from mmrapidnet.utils import deprecation
from mmrapidnet.version import __version__

__all__ = ['__version__']

deprecation.let_old_names_import()
