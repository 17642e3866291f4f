"""The Shapes data set: procedural scenes in the layouts of COCO and ADE20K."""

from mmrapidnet.data.scene import CLASSES, PALETTE, Instance, Scene, draw_scene
from mmrapidnet.data.shapes import SEG_CLASSES, SEG_PALETTE, write_shapes

__all__ = [
    'CLASSES',
    'PALETTE',
    'SEG_CLASSES',
    'SEG_PALETTE',
    'Instance',
    'Scene',
    'draw_scene',
    'write_shapes',
]
