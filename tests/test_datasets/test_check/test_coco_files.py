"""Files as a whole: what is left of them, how boxes are written, what is no COCO."""

import codecs
import json
import re

import pytest
from helpers.bad_data import HEIGHT, WIDTH, CocoSplit, load, tell_classes

from mmrapidnet.datasets.check.precheck import check_datasets
from mmrapidnet.datasets.check.run import find_in_records, find_problems
from mmrapidnet.datasets.check.source import sources_of
from mmrapidnet.datasets.shapes import CLASSES
from mmrapidnet.utils.errors import UserError

LOADERS = {'train': 'train_dataloader', 'val': 'val_dataloader'}
BOXES = [(10, 10, 30, 40), (50, 20, 90, 60), (40, 5, 80, 50), (70, 30, 95, 63)]
CONVENTIONS = {
    'left, top, width, height': lambda a, b, c, d: [a, b, c - a, d - b],
    'left, top, right, bottom': lambda a, b, c, d: [a, b, c, d],
    'centre x, centre y, width, height': lambda a, b, c, d: [
        (a + c) / 2,
        (b + d) / 2,
        c - a,
        d - b,
    ],
}


def outline(a, b, c, d):
    return [[a, b, c, b, c, d, a, d]]


def split_of(root, *changes, split='train', **same):
    """A split of one image with an object of each class, and some more.

    Args:
        root: Its folder.
        changes: Changes of each further object, the only ones if there are any.
        split: Its name.
        same: Changes of all objects.
    """
    coco = CocoSplit(root, split)
    image = coco.image('a')
    for number, change in enumerate(changes or [{}] * len(CLASSES), 1):
        coco.annotation(image, **{'category_id': number, **same, **change})
    return coco


def found(root, split='train', cfg=None):
    """Problems without a look at images, by kind."""
    (source,) = sources_of(cfg or load('detector', root), [LOADERS[split]])
    problems = find_in_records(source)[0]
    return {problem.kind: problem for problem in problems}


def stop_of(root, split='train', cfg=None):
    with pytest.raises(UserError) as error:
        check_datasets(cfg or load('detector', root), [LOADERS[split]])
    assert '\n' not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize('split', LOADERS)
def test_nothing_is_said_of_a_good_file(split, tmp_path):
    split_of(tmp_path, split=split).write()
    assert found(tmp_path, split) == {}


@pytest.mark.parametrize('split', LOADERS)
def test_a_class_without_any_object(split, tmp_path):
    coco = split_of(tmp_path, {}, {'iscrowd': 1}, {'category_id': 77}, split=split)
    coco.content['categories'][2]['supercategory'] = CLASSES[4]
    del coco.content['categories'][3]
    coco.write()
    (problem,) = (
        p for k, p in found(tmp_path, split).items() if k == 'class without any object'
    )
    assert not problem.stops
    fate = {'train': 'never learnt', 'val': 'not measured'}[split]
    assert problem.detail == (
        f'{fate}: {CLASSES[1]!r} (1 are crowds), {CLASSES[2]!r} (no annotation), '
        f'{CLASSES[3]!r} (no such category), {CLASSES[4]!r} (only a group of others, '
        f'as Roboflow adds: not for `classes`), {CLASSES[5]!r} (no annotation)'
    )
    check_datasets(load('detector', tmp_path), [LOADERS[split]])


@pytest.mark.parametrize(
    ('same', 'split', 'expected'),
    [
        ({'iscrowd': 1}, 'train', 'learn from: of its 6 .* 6 are crowds'),
        ({'iscrowd': 1}, 'val', 'nothing to measure: of its 6 .* 6 are crowds'),
        ({'area': 0}, 'train', 'nothing to learn from: of its 6 .* 6 have no extent'),
        ({'ignore': 1}, 'train', 'nothing to learn from: .* 6 are to be ignored'),
        (
            {'bbox': [200, 9, 9, 9], 'segmentation': None},
            'train',
            'from: .* 6 are outside of their images',
        ),
        ({'category_id': 77}, 'val', 'none of its 6 annotations is of a class'),
        ({'image_id': 9}, 'val', 'measure: of its 6 .* 6 are of no image'),
        (
            {'iscrowd': '0'},
            'train',
            r"damaged record: iscrowd is '0' instead .* counts as",
        ),
        (
            {'iscrowd': None},
            'val',
            'damaged record: it has no iscrowd; `tools/check_dataset.py --fix',
        ),
    ],
)
def test_nothing_is_left(same, split, expected, tmp_path):
    split_of(tmp_path, split=split, **same).write()
    assert re.search(expected, stop_of(tmp_path, split))


def test_areas_of_zero_are_measured_all_the_same(tmp_path):
    from helpers.coco_truth import evaluate

    path = split_of(tmp_path, split='val', area=0).write()
    square = (10, 10, 30, 30)
    objects = {1: [(name, square) for name in CLASSES]}
    assert evaluate(str(path), CLASSES, objects)['coco/bbox_mAP'] == 1
    (problem,) = found(tmp_path, 'val').values()
    assert problem.detail.endswith('area 0, measured as one of the small')
    assert not problem.stops


def test_no_image_is_left(tmp_path):
    cfg = load('detector', tmp_path)
    cfg.train_dataloader.dataset.filter_cfg = {'filter_empty_gt': True, 'min_size': 32}
    coco = CocoSplit(tmp_path, 'train')
    assert 'no image left: it has no record of an image' in stop_at(coco, cfg)
    coco.image('a')
    coco.image('small', size=(8, 8))
    assert stop_at(coco, cfg).startswith(
        f'{coco.path}: no image left: filter_cfg leaves out all 2, 1 as smaller than '
        'min_size=32, 1 without an object of the classes'
    )
    cfg.train_dataloader.dataset.filter_cfg = None
    assert 'nothing to learn from: it has no annotation' in stop_at(coco, cfg)


def stop_at(coco, cfg):
    coco.write()
    return stop_of(None, cfg=cfg)


@pytest.mark.parametrize('split', LOADERS)
@pytest.mark.parametrize('convention', CONVENTIONS)
def test_conventions_told_by_masks(convention, split, tmp_path):
    changes = [
        {
            'bbox': CONVENTIONS[convention](*box),
            'area': (box[2] - box[0]) * (box[3] - box[1]),
            'segmentation': outline(*box),
        }
        for box in BOXES
    ]
    split_of(tmp_path, *changes, split=split).write()
    if convention.endswith('height') and convention.startswith('left'):
        assert set(found(tmp_path, split)) == {'class without any object'}
        return
    assert (
        f'annotation 101 of a.jpg: boxes of another convention: bbox is {convention} '
        'instead of left, top, width, height: so read, 4 of 4 boxes agree with the mask'
    ) in stop_of(tmp_path, split)
    assert set(found(tmp_path, split)) == {'boxes of another convention'}


@pytest.mark.parametrize('convention', CONVENTIONS)
def test_conventions_told_without_masks(convention, tmp_path):
    """By areas, or by the edges of the images, which is no proof."""
    cfg = load('detector', tmp_path)
    cfg.train_dataloader.dataset.pipeline[1].with_mask = False
    write = CONVENTIONS[convention]
    changes = [
        {
            'bbox': write(*box),
            'area': (box[2] - box[0]) * (box[3] - box[1]),
            'segmentation': [],
        }
        for box in BOXES
    ]
    split_of(tmp_path, *changes).write()
    by_area = found(tmp_path, cfg=cfg)
    for change in changes:
        change['area'] = change['bbox'][2] * change['bbox'][3]
    split_of(tmp_path, *changes).write()
    by_edge = found(tmp_path, cfg=cfg)
    if convention.startswith('left, top, width'):
        assert set(by_area) == set(by_edge) == {'class without any object'}
    if convention.endswith('bottom'):
        assert by_area['boxes of another convention'].stops
        assert 'so it has the area given' in str(by_area.popitem()[1])
    if not convention.startswith('left, top, width'):
        problem = by_edge['boxes that may be of another convention']
        assert convention in problem.detail
        assert not problem.stops


def test_boxes_as_fractions(tmp_path):
    changes = [
        {'bbox': [a / WIDTH, b / HEIGHT, (c - a) / WIDTH, (d - b) / HEIGHT]}
        for a, b, c, d in BOXES
    ]
    split_of(tmp_path, *changes).write()
    assert 'boxes as fractions of their images: none of their 4 boxes' in stop_of(
        tmp_path
    )
    assert set(found(tmp_path)) == {'boxes as fractions of their images'}


def test_boxes_that_contradict_masks_in_any_reading(tmp_path):
    """A public converter writes the centre between the first pixel and a point."""
    changes = [
        {'bbox': [x / 2, y / 2, x, y], 'segmentation': outline(*box)}
        for box, (x, y) in zip(BOXES, [(88, 20), (95, 20), (30, 62), (94, 60)])
    ]
    split_of(tmp_path, *changes).write()
    assert (
        'boxes of another convention: 4 of 4 boxes contradict their masks; 4 of 4 '
        'leave their images, but none does if bbox is left, top, right, bottom or '
        'centre x, centre y, width, height instead of left, top, width, height'
    ) in stop_of(tmp_path)


def test_a_box_unlike_its_mask_or_partly_off(tmp_path):
    far = {'bbox': [50, 40, 20, 20]}
    off = {'bbox': [80, 40, 40, 20], 'segmentation': outline(80, 40, 120, 60)}
    split_of(tmp_path, {}, {}, far, off, {}, {}).write()
    problems = found(tmp_path)
    assert problems['box unlike its mask'].record == 'annotation 103 of a.jpg'
    assert problems['box that leaves its image'].record == 'annotation 104 of a.jpg'
    assert len(problems) == 2
    assert not any(problem.stops for problem in problems.values())


def test_names_in_another_spelling(tmp_path):
    """A stop; a class that the file does not know is none of it."""
    coco = split_of(tmp_path)
    for name, split, stops in (
        (CLASSES[0].upper(), 'val', True),
        (CLASSES[0].upper(), 'train', True),
        (f'{CLASSES[0]}s', 'train', True),
        (f'{CLASSES[0]}s', 'val', False),
        ('unicorn', 'train', False),
    ):
        coco = split_of(tmp_path, split=split)
        coco.content['categories'][0]['name'] = name
        coco.write()
        if stops:
            line = stop_of(tmp_path, split)
            expected = f'`classes` of the config has {CLASSES[0]!r}, the file {name!r}'
            assert f'classes unlike the categories: {expected}: write them' in line
        else:
            assert set(found(tmp_path, split)) == {'class without any object'}
    for category in coco.content['categories']:
        category['name'] += ' of another kind'
    coco.write()
    assert 'none of ' in stop_of(tmp_path)


def test_numbered_names_are_not_misspelt(tmp_path):
    cfg = load('detector', tmp_path)
    tell_classes(cfg, ('zone 1', 'zone 2'))
    coco = split_of(tmp_path, {'category_id': 1})
    coco.content['categories'] = [
        {'id': 1, 'name': 'zone 1'},
        {'id': 3, 'name': 'zone 3'},
    ]
    coco.write()
    assert set(found(tmp_path, cfg=cfg)) == {'class without any object'}


def test_ids_of_several_types(tmp_path):
    coco = split_of(tmp_path)
    coco.image('b', id='two')
    coco.write()
    assert 'ids of several types: images have numbers and texts' in stop_of(tmp_path)


def test_a_byte_order_mark(tmp_path):
    path = split_of(tmp_path).write()
    path.write_bytes(codecs.BOM_UTF8 + path.read_bytes())
    assert f'{path}: byte-order mark: pycocotools cannot read it' in stop_of(tmp_path)


@pytest.mark.parametrize('split', LOADERS)
def test_a_list_of_images(split, tmp_path):
    """It can only be predicted on, as on COCO's test-dev."""
    cfg = load('detector', tmp_path)
    coco = split_of(tmp_path, split=split)
    del coco.content['annotations']
    coco.write()
    line = stop_of(tmp_path, split, cfg)
    assert 'it has no list of annotations; this is a list of images' in line
    assert 'set format_only=True and outfile_prefix in the evaluator' in line
    cfg.val_evaluator.format_only = True
    if split == 'val':
        assert found(tmp_path, split, cfg) == {}
        check_datasets(cfg, ['val_dataloader'])
    else:
        assert stop_of(tmp_path, split, cfg) == line


@pytest.mark.parametrize('kind', ['CocoPanopticDataset', 'LVISV1Dataset'])
def test_other_formats_of_mmdet(kind, tmp_path):
    """They are read by their own data sets, whatever the file is called."""
    cfg = load('detector', tmp_path)
    segments = [{'id': 9, 'category_id': 1, 'bbox': [0, 0, 9, 9], 'area': 81}]
    coco = split_of(tmp_path)
    coco.content['annotations'] = [
        {'image_id': 1, 'file_name': 'a.png', 'segments_info': segments}
    ]
    path = coco.write()
    assert "this is COCO's panoptic format: use type='CocoPanop" in stop_of(tmp_path)
    cfg.train_dataloader.dataset.type = kind
    check_datasets(cfg, ['train_dataloader'])
    assert find_problems(cfg, ['train_dataloader']) == []
    # And a data set that reads as CocoDataset does is checked whatever its suffix.
    cfg.train_dataloader.dataset.update(
        type='CocoDataset', ann_file='annotations/train.coco'
    )
    path.rename(tmp_path / 'annotations' / 'train.coco')
    assert 'train.coco is not an annotation file' in stop_of(tmp_path, cfg=cfg)


def test_only_boxes(tmp_path):
    split_of(tmp_path, segmentation=[]).write()
    assert 'no object with a mask: its 6 objects only have boxes' in stop_of(tmp_path)


def test_text_ids_of_all_kinds(tmp_path):
    """They are ids like others where all of a kind are text."""
    from helpers.coco_truth import evaluate

    coco = split_of(tmp_path, split='val')
    for part, fields in (
        ('images', ['id']),
        ('categories', ['id']),
        ('annotations', ['id', 'image_id', 'category_id']),
    ):
        for record in coco.content[part]:
            record.update({name: f'a{record[name]}' for name in fields})
    path = coco.write()
    assert found(tmp_path, 'val') == {}
    assert json.loads(path.read_text())['annotations'][0]['image_id'] == 'a1'
    objects = {'a1': [(name, (10, 10, 30, 30)) for name in CLASSES]}
    assert evaluate(str(path), CLASSES, objects)['coco/bbox_mAP'] == 1


def test_a_crowd_that_is_null(tmp_path):
    """No crowd to mmdet, nothing that pycocotools can read."""
    for split in LOADERS:
        coco = split_of(tmp_path, split=split)
        for annotation in coco.content['annotations']:
            annotation['iscrowd'] = None
        coco.write()
    assert found(tmp_path) == {}
    line = stop_of(tmp_path, 'val')
    assert 'damaged record: iscrowd is None instead of 0 or 1; `tools/check' in line
