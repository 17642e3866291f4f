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


def crowd(tmp_path):
    """An image of 120 objects in a grid, all of which are found."""
    boxes = [(10 * x, 10 * y, 8, 8) for x in range(12) for y in range(10)]
    annotations = [
        {
            'id': number,
            'image_id': 1,
            'category_id': 1,
            'bbox': [x, y, w, h],
            'area': w * h,
            'iscrowd': 0,
            'segmentation': [[x, y, x + w, y, x + w, y + h, x, y + h]],
        }
        for number, (x, y, w, h) in enumerate(boxes, 1)
    ]
    content = {
        'images': [{'id': 1, 'file_name': '1.jpg', 'height': 100, 'width': 120}],
        'annotations': annotations,
        'categories': [{'id': 1, 'name': 'cell'}],
    }
    path = tmp_path / 'crowd.json'
    path.write_text(json.dumps(content))
    masks = torch.zeros(len(boxes), 100, 120, dtype=torch.bool)
    for mask, (x, y, w, h) in zip(masks, boxes):
        mask[y : y + h, x : x + w] = True
    predicted = {
        'bboxes': torch.tensor([[x, y, x + w, y + h] for x, y, w, h in boxes]).float(),
        'labels': torch.zeros(len(boxes), dtype=torch.long),
        'scores': torch.linspace(0.9, 0.5, len(boxes)),
        'masks': masks,
    }
    sample = {'img_id': 1, 'ori_shape': (100, 120), 'pred_instances': predicted}
    return str(path), sample


@pytest.mark.parametrize('use_mp_eval', [False, True])
def test_more_than_a_hundred_detections_count(use_mp_eval, tmp_path, capsys):
    path, sample = crowd(tmp_path)
    figures = {}
    for nums in ((1, 10, 500), (1, 10, 100)):
        metric = CocoMetric(
            path, ['bbox', 'segm'], proposal_nums=nums, use_mp_eval=use_mp_eval
        )
        metric.dataset_meta = {'classes': ('cell',)}
        metric.process({}, [sample])
        figures[nums[-1]] = metric.evaluate(size=1)
    for kind in ('bbox', 'segm'):
        assert figures[500][f'coco/{kind}_mAP'] == 1.0
        # A hundred of 120: of 101 recalls those up to 0.83 have precision 1.
        assert figures[100][f'coco/{kind}_mAP'] == round(84 / 101, 3)
        assert figures[100][f'coco/{kind}_mAP_50'] == round(84 / 101, 3)
    said = capsys.readouterr().out
    assert said.count('area=   all | maxDets=500 ] = 1.000') >= 4
    assert '] = -1.000' not in said.split('area= small')[0]
