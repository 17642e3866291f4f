"""RapidNet and kin for OpenMMLab: importing this package registers what configs name.

It needs torch, mmengine and mmcv only.  Put it into a config as
``custom_imports = dict(imports=['mmrapidnet'])``.
"""

from mmrapidnet import models  # noqa: F401  (registers them)
from mmrapidnet.datasets import image_folder  # noqa: F401  (registers the data set)
from mmrapidnet.utils import deprecation
from mmrapidnet.version import __version__

__all__ = ['__version__']

deprecation.let_old_names_import()
