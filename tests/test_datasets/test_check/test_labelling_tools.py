"""Annotations as labelling tools write them: right numbers, or a line."""

import json
from typing import NamedTuple

import cv2
import pytest
from helpers.bad_data import load, picture, tell_classes
from helpers.coco_truth import evaluate, learnt

from mmrapidnet.datasets.check.coco.fix import fix_annotations
from mmrapidnet.datasets.check.precheck import check_datasets
from mmrapidnet.datasets.check.run import find_problems
from mmrapidnet.utils.errors import UserError

HEIGHT, WIDTH = 64, 96


def outline(x1, y1, x2, y2):
    return [x1, y1, x2, y1, x2, y2, x1, y2]


def image(number, name):
    return {'id': number, 'file_name': name, 'height': HEIGHT, 'width': WIDTH}


def thing(number, owner, category, box, **changes):
    """A record of an object, its corners given, as COCO has it but for the changes."""
    x1, y1, x2, y2 = box
    return {
        'id': number,
        'image_id': owner,
        'category_id': category,
        'bbox': [x1, y1, x2 - x1, y2 - y1],
        'area': (x2 - x1) * (y2 - y1),
        'iscrowd': 0,
        'segmentation': [outline(*box)],
        **changes,
    }


def centred(x1, y1, x2, y2):
    return [(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1]


def category(number, name, above=''):
    return {'id': number, 'name': name, 'supercategory': above}


class Export(NamedTuple):
    """What a tool writes, the classes and the objects meant, and what is said of it."""

    images: list
    annotations: list
    categories: list
    classes: tuple
    objects: dict
    refusal: str = ''
    warning: str = ''
    masks: bool = True


A, B, C = (10, 10, 40, 40), (50, 20, 90, 60), (5, 30, 30, 60)
EXPORTS = {
    # Text as image_id, flat lists, each category for each image, ids from 0.
    'VIA': Export(
        [image(0, 'page 1.jpg'), image(1, 'page 2.jpg')],
        [
            thing(0, '0', 1, A, segmentation=outline(*A)),
            thing(1, '0', 2, B, segmentation=outline(*B)),
            thing(2, '1', 2, C, segmentation=outline(*C)),
        ],
        [category(1, 'stamp', 'Info'), category(2, 'title', 'Info')] * 2,
        ('stamp', 'title'),
        {0: [('stamp', A), ('title', B)], 1: [('title', C)]},
        "annotation 0: image id of another type: image_id is '0'.*and 2 more alike",
    ),
    'VIA with numbers': Export(
        [image(0, 'page 1.jpg')],
        [thing(0, 0, 1, A, segmentation=outline(*A))],
        [category(1, 'stamp')] * 3,
        ('stamp',),
        {0: [('stamp', A)]},
        'annotation 0 of page 1.jpg: damaged mask: segmentation is one flat list',
    ),
    'CVAT with centres': Export(
        [image(1, 'a (1).jpg'), image(2, 'a (2).jpg')],
        [
            thing(1, 1, 3, A, bbox=centred(*A)),
            thing(2, 1, 7, B, bbox=centred(*B)),
            thing(3, 2, 7, C, bbox=centred(*C)),
        ],
        [category(3, 'Left Door'), category(7, 'Screen [old]')],
        ('Screen [old]', 'Left Door'),
        {1: [('Left Door', A), ('Screen [old]', B)], 2: [('Screen [old]', C)]},
        r'of a \(1\).jpg: boxes of another convention: bbox is centre x, centre y, '
        'width, height instead of left, top, width, height: so read, 3 of 3',
    ),
    'CVAT of boxes': Export(
        [image(1, 'val/a (1).jpg')],
        [thing(1, 1, 5, A, segmentation=[]), thing(2, 1, 5, B, segmentation=[])],
        [category(5, 'fire'), category(4, 'smoke')],
        ('smoke', 'fire'),
        {1: [('fire', A), ('fire', B)]},
        warning="class without any object: never learnt: 'smoke' (no annotation)",
        masks=False,
    ),
    'a line as a box': Export(
        [image(1, 'a.jpg')],
        [thing(1, 1, 1, A), thing(2, 1, 1, B, bbox=[50, 20, 0, 40], area=0)],
        [category(1, 'pole')],
        ('pole',),
        {1: [('pole', A), ('pole', B)]},
        warning='box without an extent',
    ),
    'TACO': Export(
        [image(0, 'batch_1/0001.JPG'), image(1, 'batch_2/0001.JPG')],
        [
            thing(1, 0, 0, (-3, 10, 40, 40)),
            thing(1, 0, 6, B),
            thing(2, 1, 6, C),
        ],
        [category(0, 'Foil', 'Foil'), category(6, 'Bottle', 'Bottle')],
        ('Foil', 'Bottle'),
        {0: [('Foil', (-3, 10, 40, 40)), ('Bottle', B)], 1: [('Bottle', C)]},
        warning='repeated annotation id',
    ),
    'Roboflow with a root': Export(
        [image(0, 'a_jpg.rf.0.jpg')],
        [thing(0, 0, 1, A), thing(1, 0, 2, B)],
        [
            category(0, 'pets', 'none'),
            category(1, 'cat', 'pets'),
            category(2, 'dog', 'pets'),
        ],
        ('pets', 'cat', 'dog'),
        {0: [('cat', A), ('dog', B)]},
        warning="'pets' (only a group of others, as Roboflow adds: not for `classes`)",
    ),
    'Roboflow with a name twice': Export(
        [image(0, 'a_jpg.rf.0.jpg')],
        [thing(0, 0, 3, A), thing(1, 0, 2, B)],
        [
            category(0, 'wall', 'none'),
            category(2, 'car', 'wall'),
            category(3, 'wall', 'wall'),
        ],
        ('car', 'wall'),
        {0: [('wall', A), ('car', B)]},
        warning="repeated category name: categories 0, 3 have the name 'wall'; the one",
    ),
    'labelme2coco': Export(
        [image(1, 'images/a.jpg')],
        [thing(1, 1, 0, A), thing(2, 1, 1, B)],
        [category(0, 'human', None), category(1, 'car', None)],
        ('human', 'car'),
        {1: [('human', A), ('car', B)]},
    ),
    'a table of numbers': Export(
        [{**image(1, 'a.jpg'), 'id': 1.0}],
        [thing(1, 1.0, 2.0, A), thing(2, 1.0, 1.0, B)],
        [{**category(1, 'cat'), 'id': 1.0}, {**category(2, 'dog'), 'id': 2.0}],
        ('cat', 'dog'),
        {1: [('dog', A), ('cat', B)]},
        r'images\[0\]: damaged record: id is 1.0 instead of a whole number or a text',
    ),
    'datumaro': Export(
        [image(40, 'b1.jpg')],
        [
            thing(1, 40, 1, A),
            thing(
                2,
                40,
                2,
                (0, 0, 2, HEIGHT),
                iscrowd=1,
                segmentation={
                    'counts': [0, 2 * HEIGHT, (WIDTH - 2) * HEIGHT],
                    'size': [HEIGHT, WIDTH],
                },
            ),
        ],
        [category(1, 'a'), category(2, 'b'), category(4, 'c')],
        ('a', 'b', 'c'),
        {40: [('a', A)]},
        warning="never learnt: 'b' (1 are crowds), 'c' (no annotation)",
    ),
}


def write(export, root):
    """Both splits with the same content; returns a config for them."""
    content = {
        'images': export.images,
        'annotations': export.annotations,
        'categories': export.categories,
    }
    for split in ('train', 'val'):
        folder = root / f'{split}2017'
        for record in export.images:
            path = folder / record['file_name']
            path.parent.mkdir(parents=True, exist_ok=True)
            # The suffix may be one that OpenCV does not write.
            path.write_bytes(cv2.imencode('.jpg', picture())[1].tobytes())
        (root / 'annotations').mkdir(exist_ok=True)
        path = root / 'annotations' / f'instances_{split}2017.json'
        path.write_text(json.dumps(content))
    cfg = load('detector', root)
    tell_classes(cfg, export.classes)
    for split in ('train', 'val', 'test'):
        for step in cfg[f'{split}_dataloader'].dataset.pipeline:
            if 'with_mask' in step:
                step.with_mask = export.masks
    return cfg


def matches_truth(path, export):
    """Whether all is learnt, and predictions that are the truth are found to be so."""
    found = {number: things for number, things in learnt(path, export.classes).items()}
    crowds = sum(a['iscrowd'] for a in export.annotations)
    assert {n: t[: len(t) - crowds] for n, t in found.items()} == export.objects
    kinds = ['bbox', 'segm'] if export.masks else ['bbox']
    metrics = evaluate(path, export.classes, export.objects, metric=kinds)
    return {metrics[f'coco/{kind}_mAP'] for kind in kinds}


@pytest.mark.parametrize('name', EXPORTS)
def test_right_numbers_or_a_line(name, tmp_path, caplog):
    export = EXPORTS[name]
    cfg = write(export, tmp_path)
    path = (
        cfg.train_dataloader.dataset.data_root + 'annotations/instances_train2017.json'
    )
    if export.refusal:
        for loader in ('train_dataloader', 'val_dataloader'):
            with pytest.raises(UserError, match=export.refusal) as error:
                check_datasets(cfg, [loader])
            assert '\n' not in str(error.value)
    else:
        check_datasets(cfg, ['train_dataloader', 'val_dataloader'])
        found = find_problems(cfg, ['train_dataloader'])
        assert any(export.warning in str(p) for p in found) or not export.warning
        if name != 'a line as a box':
            assert matches_truth(path, export) == {1}


@pytest.mark.parametrize('name', EXPORTS)
def test_corrected(name, tmp_path):
    """Nothing stops then, and the numbers are right without the patches, too."""
    export = EXPORTS[name]
    cfg = write(export, tmp_path)
    out = tmp_path / 'corrected' / 'train.json'
    before = tmp_path / 'annotations' / 'instances_train2017.json'
    original = before.read_bytes()
    fix_annotations(cfg, ['train_dataloader'], str(out))
    assert before.read_bytes() == original
    problems = find_problems(cfg, ['train_dataloader'])
    kinds = {problem.kind for problem in problems} - {
        'crowd',
        'class without any object',
    }
    assert not kinds
    assert not any(problem.stops for problem in problems)
    assert matches_truth(str(out), export) == {1}
    content = json.loads(out.read_text())
    ids = [annotation['id'] for annotation in content['annotations']]
    assert min(ids) > 0 and len(set(ids)) == len(ids)
    names = [category['name'] for category in content['categories']]
    assert names == sorted(names, key=export.classes.index)


FORMATS = {
    'VIA': (
        {'a.jpg1000': {'filename': 'a.jpg', 'size': 1000, 'regions': []}},
        r'VGG Image Annotator \(VIA\): export the annotations "as COCO"',
    ),
    'VIA project': ({'_via_settings': {}, '_via_img_metadata': {}}, 'VIA.*"as COCO"'),
    'labelme': (
        {'version': '5', 'shapes': [], 'imagePath': 'a.jpg', 'imageHeight': 9},
        "labelme's own format, a file per image: convert the folder with labelme2coco",
    ),
    'Label Studio': ([{'id': 1, 'data': {}, 'annotations': []}], 'Label Studio'),
    'CreateML': ([{'image': 'a.jpg', 'annotations': []}], 'CreateML'),
    'datumaro': ({'info': {}, 'categories': {}, 'items': []}, 'as coco_instances'),
    'Supervisely': ({'objects': [], 'size': {'height': 9}}, 'Supervisely'),
    'results': ([{'image_id': 1, 'category_id': 1, 'score': 0.5}], 'a file of results'),
    'panoptic': (
        {'images': [], 'categories': [], 'annotations': [{'segments_info': []}]},
        "type='CocoPanopticDataset'",
    ),
    'XML': ('<annotation><object/></annotation>', 'XML, as of CVAT or Pascal VOC'),
    'text': ('0 0.5 0.5 0.1 0.1', 'it is no JSON'),
    'an empty list': ([], 'it is a list'),
}


@pytest.mark.parametrize('name', FORMATS)
def test_files_that_are_not_of_coco(name, tmp_path):
    content, expected = FORMATS[name]
    cfg = write(EXPORTS['TACO'], tmp_path)
    path = tmp_path / 'annotations' / 'instances_train2017.json'
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    for act in (
        lambda: check_datasets(cfg, ['train_dataloader']),
        lambda: fix_annotations(cfg, ['train_dataloader'], str(tmp_path / 'new.json')),
    ):
        with pytest.raises(
            UserError, match=f'{path} is not an anno.*{expected}'
        ) as error:
            act()
        assert '\n' not in str(error.value)
    assert not (tmp_path / 'new.json').exists()
