"""mmdet's figures of detectors: where nothing is found, and per class."""

import json

import pytest
import torch
from mmdet.evaluation import CocoMetric

CLASSES = ('cat', 'dog', 'bird')
HEIGHT, WIDTH = 64, 96
# What part of an object's width its predicted mask covers: 0.5, 0.55 and 0.6 of the ten
# thresholds are met.
COVERED = 0.625
SUMMARY = [
    f'{kind}_mAP{what}'
    for kind in ('bbox', 'segm')
    for what in ('', '_50', '_75', '_s', '_m', '_l')
]


@pytest.fixture
def ann_file(tmp_path):
    """A cat and a dog of 40 x 40 pixels in an image each; no bird at all."""
    annotations = [
        {
            'id': number,
            'image_id': number,
            'category_id': number,
            'bbox': [10, 10, 40, 40],
            'area': 1600,
            'iscrowd': 0,
            'segmentation': [[10, 10, 50, 10, 50, 50, 10, 50]],
        }
        for number in (1, 2)
    ]
    images = [
        {'id': i, 'file_name': f'{i}.jpg', 'height': HEIGHT, 'width': WIDTH}
        for i in (1, 2)
    ]
    categories = [{'id': i, 'name': name} for i, name in enumerate(CLASSES, 1)]
    content = {'images': images, 'annotations': annotations, 'categories': categories}
    path = tmp_path / 'annotations.json'
    path.write_text(json.dumps(content))
    return str(path)


def evaluate(ann_file, found=(), **options):
    """Judge boxes that are right and masks that are too narrow, in some images."""
    metric = CocoMetric(ann_file=ann_file, **options)
    metric.dataset_meta = {'classes': CLASSES}
    for image in (1, 2):
        count = int(image in found)
        masks = torch.zeros(count, HEIGHT, WIDTH, dtype=torch.bool)
        masks[:, 10:50, 10 : 10 + int(COVERED * 40)] = True
        predicted = {
            'bboxes': torch.tensor([[10.0, 10, 50, 50]] * count).reshape(-1, 4),
            'labels': torch.full((count,), image - 1),
            'scores': torch.full((count,), 0.9),
            'masks': masks,
        }
        sample = {'img_id': image, 'ori_shape': (HEIGHT, WIDTH)}
        metric.process({}, [{**sample, 'pred_instances': predicted}])
    return metric.evaluate(size=2)


@pytest.mark.parametrize('use_mp_eval', [False, True])
def test_nothing_detected_is_nought(ann_file, use_mp_eval):
    figures = evaluate(ann_file, metric=['bbox', 'segm'], use_mp_eval=use_mp_eval)
    # No object is small or large, which pycocotools says by -1, here as elsewhere.
    assert figures == {
        f'coco/{name}': -1.0 if name.endswith(('_s', '_l')) else 0.0 for name in SUMMARY
    }


def test_nothing_detected_is_nought_for_each_class_and_proposals(ann_file):
    figures = evaluate(ann_file, metric=['bbox', 'segm', 'proposal'], classwise=True)
    assert {f'coco/{name}' for name in SUMMARY} < set(figures)
    for kind in ('bbox', 'segm'):
        assert figures[f'coco/{kind}_mAP'] == 0.0
        assert figures[f'coco/{kind}_cat_precision'] == 0.0
        assert figures[f'coco/{kind}_dog_precision'] == 0.0
        assert figures[f'coco/{kind}_bird_precision'] is None
    assert figures['coco/AR@100'] == 0.0


def test_classes_have_figures_of_boxes_and_of_masks(ann_file):
    figures = evaluate(ann_file, [1], metric=['bbox', 'segm'], classwise=True)
    of_classes = {k: v for k, v in figures.items() if k.endswith('_precision')}
    assert of_classes == {
        'coco/bbox_cat_precision': 1.0,
        'coco/bbox_dog_precision': 0.0,
        'coco/bbox_bird_precision': None,
        'coco/segm_cat_precision': 0.3,
        'coco/segm_dog_precision': 0.0,
        'coco/segm_bird_precision': None,
    }
    assert (figures['coco/bbox_mAP'], figures['coco/segm_mAP']) == (0.5, 0.15)
    # One kind alone has mmdet's own names.
    alone = evaluate(ann_file, [1], metric='bbox', classwise=True)
    assert alone['coco/cat_precision'] == 1.0
    assert alone['coco/bird_precision'] is None
    assert alone['coco/bbox_mAP'] == 0.5
