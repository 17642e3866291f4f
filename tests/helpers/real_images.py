"""Tiny data sets in the layouts of the real ones."""

import json
from pathlib import Path

import cv2
import numpy as np
from mmengine.config import Config
from pycocotools import mask as coco_mask

from helpers.commands import REPO


def write_camvid(root: Path) -> None:
    """Two images per split, half as large as CamVid's, with all of its classes."""
    rng = np.random.default_rng(0)
    for split in ('train', 'val', 'test'):
        for kind in ('images', 'labels'):
            (root / kind / split).mkdir(parents=True)
        for number in range(2):
            label = rng.integers(0, 11, (6, 8), dtype=np.uint8).repeat(30, 0)
            label = label.repeat(30, 1)
            label[0, :11] = range(11)
            image = np.stack([20 * label] * 3, -1)
            cv2.imwrite(str(root / 'labels' / split / f'{number}.png'), label)
            cv2.imwrite(str(root / 'images' / split / f'{number}.jpg'), image)


def write_nuclei(root: Path) -> None:
    """Two images per split, with twelve bright discs each."""
    (root / 'annotations').mkdir(parents=True)
    for split in ('train', 'val'):
        (root / split).mkdir()
        images, annotations = [], []
        for number in range(2):
            picture = np.zeros((128, 128), np.uint8)
            for place in range(12):
                centre = (16 + 32 * (place % 4), 20 + 40 * (place // 4))
                disc = cv2.circle(np.zeros_like(picture), centre, 8 + number, 1, -1)
                picture[disc > 0] = 200
                annotations.append(_annotate(disc, len(annotations) + 1, number))
            name = f'{number}.png'
            cv2.imwrite(str(root / split / name), picture)
            images.append(dict(id=number, file_name=name, height=128, width=128))
        content = dict(
            images=images,
            annotations=annotations,
            categories=[dict(id=1, name='nucleus')],
        )
        (root / 'annotations' / f'{split}.json').write_text(json.dumps(content))


def write_classes(root: Path) -> None:
    """Two images of each of the 50 classes to train on and one held out."""
    base = REPO / 'configs' / '_base_' / 'datasets' / 'tiny_imagenet50.py'
    rng = np.random.default_rng(0)
    for name in Config.fromfile(base).classes:
        for split, count in (('train', 2), ('val', 1)):
            folder = root / split / name
            folder.mkdir(parents=True)
            for number in range(count):
                image = rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)
                cv2.imwrite(str(folder / f'{number}.JPEG'), image)


def _annotate(disc: np.ndarray, number: int, image: int) -> dict:
    rle = coco_mask.encode(np.asfortranarray(disc))
    return dict(
        id=number,
        image_id=image,
        category_id=1,
        iscrowd=0,
        area=int(coco_mask.area(rle)),
        bbox=coco_mask.toBbox(rle).tolist(),
        segmentation=dict(rle, counts=rle['counts'].decode()),
    )
