"""A small Panoptic FPN of this project's config, and images with objects and stuff."""

import json
from pathlib import Path

import cv2
import numpy as np
from mmengine.config import Config

from helpers.commands import REPO
from helpers.tiny_models import THIN_HEADS, write_checkpoint
from mmrapidnet.config.load import load_config

THINGS, STUFF = ('disc', 'square', 'ring'), ('sky', 'grass')
_SIZE = (96, 128)
# One block of each kind, as exporting takes seconds for each.
_ARCH = (
    'dict(_delete_=True, channels=(8, 16, 24, 32), local_blocks=(1, 0, 0, 0), '
    'global_blocks=(0, 0, 0, 1))'
)
_CONFIG = f"""
_base_ = '{REPO / 'configs' / 'panoptic_fpn_rapidnet_s_coco.py'}'
model = dict(
    backbone=dict(arch={_ARCH}, drop_path_rate=0.0),
    neck=dict(in_channels=[8, 16, 24, 32], out_channels=16),{THIN_HEADS}
    semantic_head=dict(
        in_channels=16,
        inner_channels=8,
        num_things_classes={len(THINGS)},
        num_stuff_classes={len(STUFF)},
        norm_cfg=dict(num_groups=4),
    ),
    panoptic_fusion_head=dict(
        num_things_classes={len(THINGS)}, num_stuff_classes={len(STUFF)}
    ),
    test_cfg=dict(
        rpn=dict(max_per_img=30),
        rcnn=dict(max_per_img=12),
        panoptic=dict(stuff_area_limit=64),
    ),
)
model['roi_head']['bbox_head']['num_classes'] = {len(THINGS)}
model['roi_head']['mask_head']['num_classes'] = {len(THINGS)}
test_pipeline = _base_.test_pipeline
test_pipeline[1]['scale'] = (150, 110)
test_dataloader = dict(
    num_workers=0,
    persistent_workers=False,
    dataset=dict(
        metainfo=dict(
            classes={THINGS + STUFF},
            thing_classes={THINGS},
            stuff_classes={STUFF},
            palette=[(number * 40, 90, 200) for number in range(5)],
        ),
        pipeline=test_pipeline,
    ),
)
"""


def write(root: Path) -> tuple[Path, Path]:
    """Write two images, a config and a checkpoint.

    Args:
        root: The folder of the data; the other two go beside it.

    Returns:
        The paths of the config and of the checkpoint.
    """
    _write_data(root)
    config = root.parent / 'tiny_panoptic.py'
    config.write_text(_CONFIG)
    return config, write_checkpoint(load(config, root), root.parent / 'panoptic.pth')


def load(config: Path, root: Path) -> Config:
    """The config, with its data."""
    return load_config(str(config), data_root=str(root))


def _write_data(root: Path) -> None:
    """Two images with a disc in front of sky and grass."""
    truth = root / 'annotations' / 'panoptic_val2017'
    for folder in (root / 'val2017', truth):
        folder.mkdir(parents=True)
    images, annotations = [], []
    for number in (1, 2):
        ids = np.full(_SIZE, 4, np.uint8)
        ids[_SIZE[0] // 2 :] = 5
        cv2.circle(ids, (30 * number, 50), 20, 1, -1)
        noise = np.random.default_rng(number).integers(0, 99, (*_SIZE, 3), np.uint8)
        cv2.imwrite(
            str(root / 'val2017' / f'{number}.jpg'), noise + ids[..., None] * 30
        )
        # An id is red + 256 green + 65536 blue.
        cv2.imwrite(str(truth / f'{number}.png'), np.dstack([ids * 0, ids * 0, ids]))
        images.append(
            dict(id=number, file_name=f'{number}.jpg', height=_SIZE[0], width=_SIZE[1])
        )
        segments = [
            dict(
                id=i,
                category_id=i,
                area=int((ids == i).sum()),
                iscrowd=0,
                bbox=[0, 0, 9, 9],
            )
            for i in (1, 4, 5)
        ]
        annotations.append(
            dict(image_id=number, file_name=f'{number}.png', segments_info=segments)
        )
    categories = [
        dict(id=number, name=name, isthing=int(name in THINGS))
        for number, name in enumerate(THINGS + STUFF, start=1)
    ]
    content = dict(images=images, annotations=annotations, categories=categories)
    (root / 'annotations' / 'panoptic_val2017.json').write_text(json.dumps(content))
