"""Classifiers that mmpretrain lacks; importing this package needs mmpretrain.

Register them, and the heads they need, in a config with
``custom_imports = dict(imports=['mmrapidnet', 'mmrapidnet.models.classifiers'])``.
"""

from mmrapidnet.models import heads  # noqa: F401  (registers the heads)
from mmrapidnet.models.classifiers.distilled_image_classifier import (
    DistilledImageClassifier,
)

__all__ = ['DistilledImageClassifier']
