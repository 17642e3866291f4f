"""Label maps of a few classes, and the config of a segmenter that reads them."""

import cv2
import numpy as np
from mmengine.registry import DATASETS, DefaultScope

from helpers.bad_data import HEIGHT, JPEG, WIDTH, load


def png(labels):
    return cv2.imencode('.png', labels)[1].tobytes()


def mask(value):
    """Nothing on the left, a value on the right."""
    labels = np.zeros((HEIGHT, WIDTH), np.uint8)
    labels[:, WIDTH // 2 :] = value
    return labels


def segment(root, maps, classes=('background', 'crack'), split='train'):
    """The config of a segmenter of own classes, with label maps by name."""
    folder = 'training' if split == 'train' else 'validation'
    images, labels = (root / part / folder for part in ('images', 'annotations'))
    images.mkdir(parents=True, exist_ok=True)
    labels.mkdir(parents=True, exist_ok=True)
    for name, content in maps.items():
        (images / f'{name}.jpg').write_bytes(JPEG)
        (labels / f'{name}.png').write_bytes(png(content))
    cfg = load('segmenter', root)
    cfg.model.decode_head.num_classes = len(classes)
    for name in ('train', 'val', 'test'):
        dataset = cfg[f'{name}_dataloader'].dataset
        dataset.reduce_zero_label = False
        dataset.metainfo = dict(classes=classes)
        for step in dataset.pipeline:
            step.pop('reduce_zero_label', None)
    return cfg


def train_set(cfg):
    """The data set that a run of the config trains on."""
    with DefaultScope.overwrite_default_scope('mmseg'):
        return DATASETS.build(cfg.train_dataloader.dataset)
