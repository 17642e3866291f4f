"""What backbones are compared on: the configs, and the figures that a table has."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dev.subprocess_steps import print_now, relpath
from mmrapidnet.datasets.shapes import write_shapes
from mmrapidnet.utils.errors import UserError

# Backbone: what it is called.
BACKBONES = {
    'rapidnet_ti': 'RapidNet-Ti',
    'rapidnet_s': 'RapidNet-S',
    'repvit_m0_9': 'RepViT-M0.9',
    'mobilevig_ti': 'MobileViG-Ti',
    'mobilenetv2_x1_4': 'MobileNetV2 x1.4',
}


@dataclass(frozen=True)
class Figure:
    """A figure that a table shows.

    Attributes:
        heading: Of its column.
        metric: Its name in ``metrics.json``.
        split: 'test' for the test, 'val' for the validation that ends a training.
            Defaults to 'test'.
        scale: What to multiply it by, such as 100 for percent. Defaults to 1.
    """

    heading: str
    metric: str
    split: str = 'test'
    scale: float = 1.0


@dataclass(frozen=True)
class DataSet:
    """A data set, and how models with different backbones learn it alike.

    Attributes:
        name: Its folder in ``data/``; also the last part of the configs' names.
        title: What its table shows.
        task: The first part of the configs' names: ``<task>_<backbone>_<name>.py``.
        backbones: Names in `BACKBONES`.
        seeds: One per run.
        figures: What its table has of a model's quality.
        note: What was measured on which images.
        size: Height and width in pixels of the image whose operations are counted.
        annotations: The folder below the data set's that the configs read. Defaults
            to its own.
        classes: Whether the test IoU of each class is wanted. Defaults to False.
        arguments: What else tools/train.py is called with. Defaults to ``--fast``.
    """

    name: str
    title: str
    task: str
    backbones: tuple[str, ...]
    seeds: tuple[int, ...]
    figures: tuple[Figure, ...]
    note: str
    size: tuple[int, int]
    annotations: str = '.'
    classes: bool = False
    arguments: tuple[str, ...] = ('--fast',)

    def config(self, backbone: str) -> str:
        """The name of a backbone's config."""
        return f'{self.task}_{backbone}_{self.name}.py'


SHAPES = DataSet(
    name='shapes',
    title='Semantic FPN on Shapes',
    task='semfpn',
    backbones=('rapidnet_ti', 'repvit_m0_9', 'mobilevig_ti', 'mobilenetv2_x1_4'),
    seeds=(0, 1, 2),
    figures=(Figure('mIoU, %', 'mIoU'),),
    note='mIoU on the held-out images.',
    size=(192, 192),
    annotations='ade',
    arguments=(),
)
CAMVID = DataSet(
    name='camvid',
    title='Semantic FPN on CamVid',
    task='semfpn',
    backbones=tuple(BACKBONES),
    seeds=(0, 1, 2),
    figures=(
        Figure('test mIoU, %', 'mIoU'),
        Figure('validation mIoU, %', 'mIoU', split='val'),
    ),
    note=(
        'The splits are the standard ones; training validates on the one and does not '
        'see the other. The second table has the test IoU of each class, in percent.'
    ),
    size=(360, 480),
    classes=True,
)
NUCLEI = DataSet(
    name='nuclei',
    title='Mask R-CNN on nuclei',
    task='maskrcnn',
    backbones=('rapidnet_ti', 'mobilenetv2_x1_4'),
    seeds=(0,),
    figures=(
        Figure('mask AP, %', 'coco/segm_mAP', scale=100.0),
        Figure('mask AP50, %', 'coco/segm_mAP_50', scale=100.0),
        Figure('mask AP75, %', 'coco/segm_mAP_75', scale=100.0),
    ),
    note='AP on the held-out images, which training also validates on.',
    size=(512, 512),
)
DATA_SETS = {data.name: data for data in (SHAPES, CAMVID, NUCLEI)}


def write_scenes(root: Path) -> None:
    """Write the scenes of Shapes, unless they are there already."""
    if not root.exists():
        print_now(f'Shapes, a data set drawn on the spot, into {relpath(root)}')
        write_shapes(root, progress=True)


def check_there(option: str, root: Path) -> None:
    """Raise UserError for a missing data set, which nothing here can write."""
    if not root.is_dir():
        raise UserError(
            f'{option}: there is no folder {relpath(root)}: give that of the data set; '
            'docs/real_images.md says where it is had'
        )
