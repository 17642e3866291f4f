"""The dense models that are published with these backbones."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class DenseModel:
    """A dense model as the old OpenMMLab libraries saved it.

    Attributes:
        name: What our configs' names begin with.
        title: What the files are called in messages.
        marker: What begins the names of tensors in such files alone.
        dataset: What our configs' names end with.
        classifier: The tensor whose length tells the number of classes.
        background: How many of its rows are no class.
        num_classes: The settings of our configs that take the number of classes.
    """

    name: str
    title: str
    marker: str
    dataset: str
    classifier: str
    background: int
    num_classes: tuple[str, ...]


DENSE_MODELS = (
    DenseModel(
        name='maskrcnn',
        title='Mask R-CNN (mmdet 2.x)',
        marker='roi_head.',
        dataset='coco',
        classifier='roi_head.bbox_head.fc_cls.weight',
        background=1,
        num_classes=(
            'model.roi_head.bbox_head.num_classes',
            'model.roi_head.mask_head.num_classes',
        ),
    ),
    DenseModel(
        name='semfpn',
        title='Semantic FPN (mmseg 0.x)',
        marker='decode_head.',
        dataset='ade20k',
        classifier='decode_head.conv_seg.weight',
        background=0,
        num_classes=('model.decode_head.num_classes',),
    ),
)
