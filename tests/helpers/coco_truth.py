"""Annotation files of known objects, what mmdet learns of them and how it judges."""

import json

import torch
from mmdet.datasets import CocoDataset
from mmdet.evaluation import CocoMetric

# Name and box (left, top, right, bottom) of each object, by image.
OBJECTS = {
    3: [('cat', (10, 10, 40, 40)), ('dog', (50, 10, 90, 60))],
    8: [('dog', (5, 5, 30, 50)), ('bird', (40, 20, 80, 60))],
}
CLASSES = ('cat', 'dog', 'bird')
SIZE = (64, 96)


def write(path, categories, objects=OBJECTS, ids=None):
    """Write a file of (id, name) categories; annotations have ids from 1, or these."""
    first = {name: number for number, name in reversed(categories)}
    annotations = [
        {
            'image_id': image,
            'category_id': first[name],
            'bbox': [x1, y1, x2 - x1, y2 - y1],
            'area': (x2 - x1) * (y2 - y1),
            'iscrowd': 0,
            'segmentation': [[x1, y1, x2, y1, x2, y2, x1, y2]],
        }
        for image, boxes in objects.items()
        for name, (x1, y1, x2, y2) in boxes
        if name in first
    ]
    ids = ids or range(1, len(annotations) + 1)
    for annotation, number in zip(annotations, ids, strict=True):
        annotation['id'] = number
    images = [
        {'id': i, 'file_name': f'{i}.jpg', 'height': SIZE[0], 'width': SIZE[1]}
        for i in objects
    ]
    categories = [{'id': number, 'name': name} for number, name in categories]
    content = {'images': images, 'annotations': annotations, 'categories': categories}
    path.write_text(json.dumps(content))
    return str(path)


def evaluate(
    path, classes=CLASSES, objects=OBJECTS, metric=('bbox', 'segm'), **options
):
    """Judge predictions that are these objects."""
    metric = CocoMetric(ann_file=path, metric=list(metric), **options)
    metric.dataset_meta = {'classes': classes}
    for image, boxes in objects.items():
        masks = torch.zeros(len(boxes), *SIZE, dtype=torch.bool)
        for mask, (_, (x1, y1, x2, y2)) in zip(masks, boxes):
            mask[y1:y2, max(x1, 0) : x2] = True
        predicted = {
            'bboxes': torch.tensor([box for _, box in boxes], dtype=torch.float32),
            'labels': torch.tensor([classes.index(name) for name, _ in boxes]),
            'scores': torch.linspace(0.9, 0.5, len(boxes)),
            'masks': masks,
        }
        sample = {'img_id': image, 'ori_shape': SIZE, 'pred_instances': predicted}
        metric.process({}, [sample])
    return metric.evaluate(len(objects))


def learnt(path, classes=CLASSES):
    """Name and box of each object that mmdet trains with, by image."""
    meta, folder = {'classes': classes}, {'img': ''}
    dataset = CocoDataset(ann_file=path, metainfo=meta, data_prefix=folder, pipeline=[])
    return {
        info['img_id']: [
            (classes[instance['bbox_label']], tuple(instance['bbox']))
            for instance in info['instances']
        ]
        for info in map(dataset.get_data_info, range(len(dataset)))
    }
