"""The configs for nuclei: room for crowds, dark images, crops that keep objects."""

import json

import cv2
import numpy as np
import pytest
from helpers.commands import REPO
from mmengine.registry import DATASETS, DefaultScope

from mmrapidnet.compat.coco_metric import count_detections
from mmrapidnet.config.load import load_config

NAMES = ('maskrcnn_rapidnet_ti_nuclei', 'maskrcnn_mobilenetv2_x1_4_nuclei')
# The most objects of an image of the whole set.
CROWD = 375
SIDE, BRIGHTEST = 256, 40


def load(name, **options):
    return load_config(str(REPO / 'configs' / f'{name}.py'), **options)


def build(config):
    with DefaultScope.overwrite_default_scope('mmdet'):
        return DATASETS.build(config)


@pytest.fixture
def root(tmp_path):
    """A dark image in each split, with a single bright square in a corner."""
    image = np.full((SIDE, SIDE, 3), 4, np.uint8)
    image[:20, :20] = BRIGHTEST
    box = {'bbox': [0, 0, 20, 20], 'area': 400, 'iscrowd': 0}
    square = {**box, 'segmentation': [[0, 0, 20, 0, 20, 20, 0, 20]]}
    content = {
        'images': [{'id': 1, 'file_name': '1.png', 'height': SIDE, 'width': SIDE}],
        'annotations': [{'id': 1, 'image_id': 1, 'category_id': 1, **square}],
        'categories': [{'id': 1, 'name': 'nucleus'}],
    }
    (tmp_path / 'annotations').mkdir()
    for split in ('train', 'val'):
        (tmp_path / split).mkdir()
        cv2.imwrite(str(tmp_path / split / '1.png'), image)
        path = tmp_path / 'annotations' / f'{split}.json'
        path.write_text(json.dumps(content))
    return tmp_path


@pytest.mark.parametrize('name', NAMES)
def test_there_is_room_for_a_crowd(name):
    cfg = load(name)
    assert cfg.model.test_cfg.rpn.max_per_img > cfg.model.test_cfg.rcnn.max_per_img
    for evaluator in (cfg.val_evaluator, cfg.test_evaluator):
        counted = count_detections(evaluator.proposal_nums)
        assert counted == cfg.model.test_cfg.rcnn.max_per_img > CROWD


def test_they_differ_in_the_backbone_alone():
    first, second = (load(name).to_dict() for name in NAMES)
    for cfg in (first, second):
        for key in ('backbone', 'neck'):
            cfg['model'].pop(key)
        for key in ('custom_imports', 'find_unused_parameters', 'work_dir'):
            cfg.pop(key, None)
    assert first == second


def test_dark_images_are_brightened_and_shown_at_twice_their_size(root):
    cfg = load(NAMES[0], data_root=str(root))
    data = build(cfg.test_dataloader.dataset)[0]
    assert data['inputs'].shape == (3, 2 * SIDE, 2 * SIDE)
    assert data['inputs'].min() == 0 and data['inputs'].max() >= 254


def test_crops_hold_objects(root):
    """Most crops of this image would hold none."""
    dataset = build(load(NAMES[0], data_root=str(root)).train_dataloader.dataset)
    np.random.seed(0)
    cropped = [dataset.prepare_data(0) for _ in range(20)]
    assert any(data is None for data in cropped)
    kept = [data['data_samples'].gt_instances for data in cropped if data]
    assert kept
    for objects in kept:
        assert len(objects) == 1 and objects.masks.masks.any()
        boxes = objects.bboxes.tensor[0]
        assert (boxes[2:] - boxes[:2]).min() >= 3
