"""The Shapes data set: procedural scenes in the layouts of COCO and ADE20K.

And single objects, to classify, in ImageNet's.
"""

from mmrapidnet.datasets.shapes.classification_scene import CLS_CLASSES, draw_single
from mmrapidnet.datasets.shapes.scene import (
    CLASSES,
    PALETTE,
    Instance,
    Scene,
    draw_scene,
)
from mmrapidnet.datasets.shapes.shapes import (
    DEFAULT_SPLITS,
    SEG_CLASSES,
    SEG_PALETTE,
    write_shapes,
)
from mmrapidnet.datasets.shapes.shapes_cls import DEFAULT_CLS_SPLITS, write_shapes_cls

__all__ = [
    'CLASSES',
    'CLS_CLASSES',
    'DEFAULT_CLS_SPLITS',
    'DEFAULT_SPLITS',
    'PALETTE',
    'SEG_CLASSES',
    'SEG_PALETTE',
    'Instance',
    'Scene',
    'draw_scene',
    'draw_single',
    'write_shapes',
    'write_shapes_cls',
]
