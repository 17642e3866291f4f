"""The dense models, and RepViT-SAM, that are published with these backbones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from mmrapidnet.checkpoints.convert.key_maps.key_map import BACKBONE


@dataclass(frozen=True)
class DenseModel:
    """A dense model as the old OpenMMLab libraries, or its authors, saved it.

    Attributes:
        name: What our configs' names begin with.
        title: What the files are called in messages.
        marker: What begins the names of tensors in such files alone.
        dataset: What our configs' names end with; None where they name none.
        classifier: The tensor whose length tells the number of classes; None where
            there are none.
        background: How many of its rows are no class.
        num_classes: The settings of our configs that take the number of classes.
        prefix: What precedes the backbone's names in the file.
        renamed: Our names of other modules to the published ones, where they differ.
    """

    name: str
    title: str
    marker: str
    dataset: str | None = None
    classifier: str | None = None
    background: int = 0
    num_classes: tuple[str, ...] = ()
    prefix: str = BACKBONE
    renamed: Mapping[str, str] = field(default_factory=dict)

    def config_name(self, family: str, arch: str) -> str:
        """The name of our config with a backbone; ``arch`` may be a pattern."""
        parts = (self.name, family, arch, self.dataset)
        return '_'.join(part for part in parts if part) + '.py'

    def published_key(self, name: str) -> str:
        """The published name of a tensor that is not of the backbone."""
        module, _, tensor = name.rpartition('.')
        return f'{self.renamed.get(module, module)}.{tensor}'


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
        num_classes=('model.decode_head.num_classes',),
    ),
    DenseModel(
        name='sam',
        title='Segment Anything',
        marker=r'mask_decoder\.',
        prefix='image_encoder.',
        renamed={
            'neck.lateral_convs.0': 'image_encoder.neck.0',
            'neck.lateral_norm': 'image_encoder.neck.1',
            'neck.conv': 'image_encoder.neck.2',
            'neck.norm': 'image_encoder.neck.3',
        },
    ),
)
