"""Corrections of records, each with what it was and what it is."""

import codecs
import json
from copy import deepcopy

import pytest
from helpers.bad_data import HEIGHT, SQUARE, WIDTH, CocoSplit, load
from helpers.coco_truth import CLASSES, OBJECTS, evaluate, learnt, write

from mmrapidnet.datasets.check.coco.fix import fix_annotations, fix_content
from mmrapidnet.utils.errors import UserError

NAN = float('nan')
GOOD = {
    'id': 1,
    'image_id': 7,
    'category_id': 3,
    'bbox': [10, 10, 20, 20],
    'area': 400,
    'iscrowd': 0,
    'segmentation': [SQUARE],
}
IMAGE = {'id': 7, 'file_name': 'a.jpg', 'height': HEIGHT, 'width': WIDTH}
CATEGORY = {'id': 3, 'name': 'cat'}
POINTS = [SQUARE[i : i + 2] for i in range(0, len(SQUARE), 2)]
BOX = [10.0, 10.0, 20.0, 20.0]


def content_of(*annotations, images=(IMAGE,), categories=(CATEGORY,)):
    content = {'images': images, 'annotations': annotations, 'categories': categories}
    return {part: list(records) for part, records in deepcopy(content).items()}


def fix(content, classes=('cat',)):
    return [change.kind for change in fix_content(content, classes)]


@pytest.mark.parametrize(
    ('before', 'after', 'kind'),
    [
        ({}, {}, None),
        ({'id': 0}, {}, 'new annotation id'),
        ({'id': -4}, {}, 'new annotation id'),
        ({'id': 'x'}, {}, 'new annotation id'),
        ({'id': None}, {}, 'new annotation id'),
        ({'image_id': '7'}, {}, 'image_id of the type of the id'),
        ({'image_id': 7.0}, {}, 'whole number as id'),
        ({'image_id': '8'}, {'image_id': '8'}, None),
        ({'category_id': '3'}, {}, 'category_id of the type of the id'),
        ({'category_id': [3]}, {}, 'id instead of a list of one'),
        ({'category_id': [3, 4]}, {'category_id': [3, 4]}, None),
        ({'iscrowd': '0'}, {}, 'number instead of text'),
        ({'iscrowd': 'False'}, {}, 'number instead of text'),
        ({'iscrowd': '1'}, {'iscrowd': 1}, 'number instead of text'),
        ({'iscrowd': None}, {}, 'missing iscrowd'),
        ({'iscrowd': 'maybe'}, {'iscrowd': 'maybe'}, None),
        ({'bbox': ['10', 10, '20', 20.0]}, {}, 'number instead of text'),
        ({'bbox': ['a', 10, 20, 20]}, {'bbox': BOX}, 'box from the mask'),
        ({'bbox': None}, {'bbox': BOX}, 'box from the mask'),
        ({'bbox': [10, 10, 0, 20]}, {'bbox': BOX}, 'box from the mask'),
        ({'bbox': [NAN, 10, 20, 20]}, {'bbox': BOX}, 'box from the mask'),
        ({'bbox': [10, 10, -2, 9], 'segmentation': []}, {}, None),
        ({'area': '400'}, {}, 'number instead of text'),
        ({'area': 0}, {}, 'area from the mask'),
        ({'area': NAN}, {}, 'area from the mask'),
        ({'area': None, 'segmentation': []}, {}, 'area from the box'),
        ({'area': 123}, {'area': 123}, None),
        ({'segmentation': SQUARE}, {}, 'mask as a list of polygons'),
        ({'segmentation': POINTS}, {}, 'mask as a list of polygons'),
        ({'segmentation': [POINTS]}, {}, 'mask as a list of polygons'),
        ({'segmentation': [SQUARE, [1, 1]]}, {}, 'polygon under 3 points taken away'),
        ({'segmentation': [[1, 1]]}, {'segmentation': [[1, 1]]}, None),
        (
            {'segmentation': {'counts': [5], 'size': [5, 5]}},
            {'segmentation': {'counts': [5], 'size': [5, 5]}},
            None,
        ),
    ],
)
def test_an_annotation(before, after, kind):
    unmasked = before.get('segmentation') == []
    expected = {**GOOD, **({'segmentation': []} if unmasked else {}), **after}
    if kind is None:
        expected |= before
    content = content_of({**GOOD, **before})
    assert fix(content) == ([kind] if kind else [])
    assert content == content_of(expected)
    assert fix(content) == []


def test_a_missing_field():
    without = {key: GOOD[key] for key in ('image_id', 'category_id', 'segmentation')}
    content = content_of(without)
    fix(content)
    assert content['annotations'] == [{**GOOD, 'bbox': BOX}]


CONVENTIONS = [
    [10, 10, 30, 30],
    [20, 20, 20, 20],
    [10 / WIDTH, 10 / HEIGHT, 20 / WIDTH, 20 / HEIGHT],
    [47.5, 10, 95, 20],
]


@pytest.mark.parametrize('box', CONVENTIONS)
def test_boxes_of_another_convention(box):
    """Areas that were computed from it are, too."""
    wrong = {**GOOD, 'bbox': box, 'area': box[2] * box[3]}
    content = content_of(wrong, {**wrong, 'id': 2}, {**wrong, 'id': 3, 'area': 390})
    fix(content)
    assert [a['bbox'] for a in content['annotations']] == [BOX] * 3
    areas = [400, 400, 400 if box[2] * box[3] == 390 else 390]
    assert [a['area'] for a in content['annotations']] == areas


def test_corners_without_masks():
    boxes = [[10, 10, 40, 30], [5, 20, 50, 60]]
    areas = [30 * 20, 45 * 40]
    content = content_of(
        *(
            {**GOOD, 'id': i, 'bbox': box, 'area': area, 'segmentation': []}
            for i, (box, area) in enumerate(zip(boxes, areas), 1)
        )
    )
    assert fix(content) == ['box that was left, top, right, bottom'] * 2
    assert [a['bbox'] for a in content['annotations']] == [
        [10, 10, 30, 20],
        [5, 20, 45, 40],
    ]


def test_one_box_apart_stays():
    """Whether it or its mask is right cannot be told."""
    apart = {**GOOD, 'id': 2, 'bbox': [60, 40, 20, 20]}
    content = content_of(GOOD, apart)
    assert fix(content) == []
    assert content == content_of(GOOD, apart)


def test_annotations_of_nothing():
    empty = {**GOOD, 'id': 2, 'bbox': [0, 0, 0, 0], 'area': 0, 'segmentation': []}
    content = content_of(empty, GOOD)
    assert fix(content) == ['empty annotation taken away']
    assert content == content_of(GOOD)


def test_records_that_repeat():
    other = {**GOOD, 'bbox': [11, 10, 20, 20]}
    content = content_of(
        GOOD,
        GOOD,
        other,
        images=[IMAGE, IMAGE],
        categories=[CATEGORY, {**CATEGORY, 'supercategory': 'pet'}],
    )
    kinds = ['repeated record taken away'] * 3 + ['new annotation id']
    assert fix(content) == kinds
    assert content == content_of(GOOD, {**other, 'id': 2})


def test_what_stays_ambiguous():
    """Two images, or two names, of one id; two categories of a name with objects."""
    content = content_of(
        GOOD,
        {**GOOD, 'id': 2, 'category_id': 4},
        images=[IMAGE, {**IMAGE, 'file_name': 'b.jpg'}],
        categories=[CATEGORY, {'id': 4, 'name': 'cat'}, {'id': 4, 'name': 'dog'}],
    )
    before = deepcopy(content)
    assert fix(content) == []
    assert content == before


def test_ids_of_several_types():
    content = content_of(
        GOOD,
        {**GOOD, 'id': 2, 'image_id': '8'},
        images=[IMAGE, {**IMAGE, 'id': '8'}],
    )
    assert fix(content) == ['number instead of text', 'image_id of the type of the id']
    assert [image['id'] for image in content['images']] == [7, 8]
    assert [a['image_id'] for a in content['annotations']] == [7, 8]
    names = [{'id': 1, 'name': 'a'}, {'id': '01', 'name': 'b'}]
    content = content_of(categories=names)
    assert fix(content) == []
    assert content['categories'] == names


def test_order_and_encoding(tmp_path):
    """The copy is right for mmdet as it is installed, too, and for other classes."""
    path = tmp_path / 'annotations' / 'instances_val2017.json'
    cfg = load('detector', tmp_path)
    cfg.val_dataloader.dataset.metainfo = {'classes': CLASSES}
    split = CocoSplit(tmp_path, 'val')
    for number in OBJECTS:
        split.image(number, id=number)
    names = [(3, 'bird'), (2, 'fish'), (9, 'dog'), (0, 'cat')]
    write(path, names, ids=(0, 1, 2, 3))
    path.write_bytes(codecs.BOM_UTF8 + path.read_bytes())
    out = tmp_path / 'new.json'
    changes = fix_annotations(cfg, ['val_dataloader'], str(out))
    assert [change.kind for change in changes] == [
        'byte-order mark taken away',
        'new annotation id',
        'order of the categories',
    ]
    content = json.loads(out.read_text(encoding='utf-8'))
    names = [category['name'] for category in content['categories']]
    assert names == ['cat', 'dog', 'bird', 'fish']
    assert cfg.val_dataloader.dataset.ann_file == str(out)
    assert cfg.val_evaluator.ann_file == str(out)
    assert learnt(str(out)) == OBJECTS
    assert evaluate(str(out))['coco/bbox_mAP'] == 1


def test_where_the_copy_goes(tmp_path):
    split = CocoSplit(tmp_path, 'val')
    split.annotation(split.image('a'))
    path = split.write()
    cfg, before = load('detector', tmp_path), path.read_bytes()
    link = tmp_path / 'link.json'
    link.symlink_to(path)
    for out, expected in (
        (path, 'is the annotation file itself'),
        (link, 'is the annotation file itself'),
        (tmp_path / 'val2017', 'cannot be written'),
        (path / 'below.json', 'cannot be written'),
    ):
        with pytest.raises(UserError, match=f'--fix {out} {expected}'):
            fix_annotations(cfg, ['val_dataloader'], str(out))
    assert path.read_bytes() == before
    new = tmp_path / 'new.json'
    with pytest.raises(UserError, match="none of these data sets reads COCO's JSON"):
        fix_annotations(cfg, ['no_dataloader'], str(new))
    CocoSplit(tmp_path, 'train').write()
    several = r'these data sets read 2 annotation files, .*: choose one with --splits'
    with pytest.raises(UserError, match=several):
        fix_annotations(cfg, ['train_dataloader', 'val_dataloader'], str(new))
    assert not new.exists()
