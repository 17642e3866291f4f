"""Each defect of annotations: found, and handled as the benchmark does or a stop."""

import re
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pytest
from helpers.bad_data import HEIGHT, SQUARE, WIDTH, CocoSplit, load
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from mmrapidnet.datasets.check.precheck import check_datasets
from mmrapidnet.datasets.check.run import find_problems
from mmrapidnet.datasets.check.source import sources_of
from mmrapidnet.datasets.shapes import CLASSES
from mmrapidnet.utils.errors import UserError

NAN, INFINITE = float('nan'), float('inf')


class Defect(NamedTuple):
    """A change of one annotation beside a good one, and what is to become of it.

    ``learnt`` and ``ignored`` count the objects of the image, the good one included,
    that mmdet's pipeline gives; None where the run stops instead.
    """

    kind: str
    changes: dict
    learnt: int | None = None
    ignored: int = 0


def runs(*counts, size=(HEIGHT, WIDTH)):
    return {'counts': list(counts), 'size': list(size)}


DEFECTS = {
    'zero_box': Defect('box without an extent', {'bbox': [10, 10, 0, 5]}, 1),
    'negative_box': Defect('box without an extent', {'bbox': [30, 30, -9, 5]}, 1),
    'no_area': Defect('box without an extent', {'area': 0}, 1),
    'outside': Defect('box outside of its image', {'bbox': [200, 9, 20, 20]}, 1),
    'unknown_category': Defect('unknown category id', {'category_id': 77}, 1),
    'crowd': Defect('crowd', {'iscrowd': 1}, 1, 1),
    'stray': Defect('annotation of no image', {'image_id': 9999}, 1),
    'two_points': Defect(
        'polygon of fewer than 3 points', {'segmentation': [[1, 1, 9, 9]]}, 1, 1
    ),
    'a_second_polygon': Defect(
        'polygon of fewer than 3 points', {'segmentation': [SQUARE, [1, 1]]}, 2
    ),
    'nan_box': Defect('box that is not finite', {'bbox': [NAN, 1, 5, 5]}),
    'infinite_box': Defect('box that is not finite', {'bbox': [1, 1, INFINITE, 5]}),
    'nan_area': Defect('box that is not finite', {'area': NAN}),
    'no_mask': Defect('object without a mask', {'segmentation': None}),
    'empty_mask': Defect('object without a mask', {'segmentation': []}),
    'points_as_mask': Defect(
        'damaged mask', {'segmentation': [[[10, 10], [30, 10], [30, 30], [10, 30]]]}
    ),
    'flat_mask': Defect('damaged mask', {'segmentation': SQUARE}),
    'nan_mask': Defect(
        'mask with impossible coordinates', {'segmentation': [[1, 1, NAN, 5, 9, 9]]}
    ),
    'far_mask': Defect(
        'mask with impossible coordinates', {'segmentation': [[1, 1, 1e9, 5, 9, 9]]}
    ),
    'rle_of_other_size': Defect(
        'RLE of another size than its image', {'segmentation': runs(5, 20, size=(5, 5))}
    ),
    'short_rle': Defect('damaged RLE', {'segmentation': runs(5, 20)}),
    'wrong_box': Defect('damaged record', {'bbox': [1, 2, 3]}),
    'text_box': Defect('damaged record', {'bbox': [1, 2, 3, '4']}),
    'no_box': Defect('damaged record', {'bbox': None}),
    'text_id': Defect('annotation id that is no positive number', {'id': 'x'}, 2),
    'text_crowd': Defect('damaged record', {'iscrowd': '0'}),
    'category_in_a_list': Defect('damaged record', {'category_id': [1]}),
    'category_as_text': Defect('category id of another type', {'category_id': '1'}),
    'number_as_rle_size': Defect(
        'damaged RLE', {'segmentation': {'counts': [6144], 'size': 5}}
    ),
    'letters_as_rle': Defect('damaged RLE', {'segmentation': runs('a', 6144)}),
    'no_letters_of_rle': Defect(
        'damaged RLE', {'segmentation': {'counts': 'xyz', 'size': [HEIGHT, WIDTH]}}
    ),
}
HANDLED = [name for name, defect in DEFECTS.items() if defect.learnt is not None]
STOPPING = sorted(set(DEFECTS) - set(HANDLED))


class Repetition(NamedTuple):
    kind: str
    message: str
    plant: Callable[[dict], None]


def repeat(part, **changes):
    def plant(content):
        content[part].append({**content[part][0], **changes})

    return plant


REPETITIONS = {
    'image': Repetition(
        'repeated image id', 'image 1: .*2 records', repeat('images', file_name='b.jpg')
    ),
    'annotation': Repetition(
        'repeated annotation id', 'annotation 101: .*2 records', repeat('annotations')
    ),
    'category': Repetition(
        'repeated category id', 'category 1: ', repeat('categories', name='other')
    ),
}


def test_names_that_repeat(root):
    """Only objects of both categories leave open what is meant."""
    split = CocoSplit(root, 'train')
    split.annotation(split.image('a'))
    split.content['categories'].append({'id': 50, 'name': CLASSES[0]})
    split.write()
    check_datasets(load('detector', root), ['train_dataloader'])
    split.annotation(split.content['images'][0], category_id=50)
    split.write()
    with pytest.raises(
        UserError, match="categories 1, 50 have the name 'disc', and all"
    ):
        check_datasets(load('detector', root), ['train_dataloader'])


def test_ids_of_annotations_that_repeat(root):
    """Of different objects they are told apart by new ids."""
    split = CocoSplit(root, 'train')
    split.annotation(split.image('a'))
    split.annotation(split.content['images'][0], id=101, bbox=[11, 10, 20, 20])
    split.write()
    cfg = load('detector', root)
    check_datasets(cfg, ['train_dataloader'])
    assert len(dataset_of(cfg)[0][0]['data_samples'].gt_instances) == 2


@pytest.fixture
def root(tmp_path):
    """A validation split without a flaw."""
    split = CocoSplit(tmp_path, 'val')
    split.annotation(split.image('good'))
    split.write()
    return tmp_path


def plant(root, *names, split='train'):
    """Write a split of one image for each defect; returns its annotation file."""
    coco = CocoSplit(root, split)
    for name in names:
        image = coco.image(name)
        coco.annotation(image)
        coco.annotation(image, **DEFECTS[name].changes)
    return coco.write()


def dataset_of(cfg, name='train_dataloader'):
    """mmdet's data set with its pipeline, by name of the image."""
    from mmengine.registry import DATASETS, DefaultScope

    with DefaultScope.overwrite_default_scope('mmdet'):
        dataset = DATASETS.build(cfg[name].dataset)
    names = [dataset.get_data_info(i)['img_path'] for i in range(len(dataset))]
    return dataset, [name.rpartition('/')[2].removesuffix('.jpg') for name in names]


def test_all_are_found_in_one_pass(root):
    path = plant(root, *DEFECTS)
    found = {
        (problem.record, problem.kind, problem.stops)
        for problem in find_problems(load('detector', root), ['train_dataloader'])
    }
    expected = set()
    for number, (name, defect) in enumerate(DEFECTS.items()):
        annotation = 102 + 2 * number
        number = defect.changes.get('id', annotation)
        record = f'annotation {number} of {name}.jpg'
        if name == 'stray':
            record = f'annotation {annotation}'
        if defect.kind == 'damaged record':
            record = f'annotations[{annotation - 101}]'
        expected.add((record, defect.kind, defect.learnt is None))
    assert found == expected
    assert path.name == 'instances_train2017.json'


@pytest.mark.parametrize('name', STOPPING)
def test_a_run_stops_before_training(name, root):
    path = plant(root, name)
    with pytest.raises(UserError) as error:
        check_datasets(load('detector', root), ['train_dataloader', 'val_dataloader'])
    record = rf'(annotation 102 of {name}\.jpg|annotations\[1\])'
    assert re.match(rf'{path}: {record}: {DEFECTS[name].kind}: .', str(error.value))
    assert '\n' not in str(error.value)


@pytest.mark.parametrize('name', REPETITIONS)
def test_ids_that_repeat(name, root):
    split = CocoSplit(root, 'train')
    split.annotation(split.image('a'))
    split.image('b', id=5)
    REPETITIONS[name].plant(split.content)
    path = split.write()
    with pytest.raises(UserError, match=REPETITIONS[name].message) as error:
        check_datasets(load('detector', root), ['train_dataloader'])
    assert str(error.value).startswith(f'{path}: ')
    kinds = {
        p.kind for p in find_problems(load('detector', root), ['train_dataloader'])
    }
    assert REPETITIONS[name].kind in kinds


def test_what_mmdet_handles(root):
    """Left out or ignored in training."""
    plant(root, *HANDLED)
    cfg = load('detector', root)
    check_datasets(cfg, ['train_dataloader'])
    dataset, names = dataset_of(cfg)
    assert names == HANDLED
    for index, name in enumerate(names):
        sample = dataset[index]['data_samples']
        counts = len(sample.gt_instances), len(sample.ignored_instances)
        assert counts == (DEFECTS[name].learnt, DEFECTS[name].ignored), name
        assert np.isfinite(sample.gt_instances.bboxes.tensor.numpy()).all()


def evaluate(path, kind='bbox'):
    """Recall of predictions that are the good annotations, for each image."""
    coco = COCO(str(path))
    predictions = [
        {'image_id': image, 'category_id': 1, 'score': 0.9, 'bbox': [10, 10, 20, 20]}
        for image in coco.getImgIds()
    ]
    evaluation = COCOeval(coco, coco.loadRes(predictions), kind)
    recalls = {}
    for image in coco.getImgIds():
        evaluation.params.imgIds = [image]
        evaluation.params.catIds = [1]
        evaluation.evaluate()
        evaluation.accumulate()
        recalls[coco.imgs[image]['file_name']] = evaluation.eval['recall'][0, 0, 0, -1]
    return recalls


def test_what_pycocotools_makes_of_it(root):
    """Crowds and unknown categories do not count; boxes that cannot be met do."""
    names = ('crowd', 'unknown_category', 'stray', 'zero_box', 'outside')
    path = plant(root, *names, split='val')
    assert evaluate(path) == {
        'crowd.jpg': 1,
        'unknown_category.jpg': 1,
        'stray.jpg': 1,
        'zero_box.jpg': 0.5,
        'outside.jpg': 0.5,
    }
    found = find_problems(load('detector', root), ['val_dataloader'])
    met = {p.kind: p.detail.endswith('no predicted box can match') for p in found}
    assert met['box without an extent']
    assert met['box outside of its image']
    assert not any(p.stops for p in found)


@pytest.mark.parametrize(
    ('mask', 'stops'), [([[1, 1, 9, 9]], True), ([SQUARE, [1, 1]], False)]
)
def test_polygons_that_evaluation_cannot_read(mask, stops, root):
    split = CocoSplit(root, 'val')
    split.annotation(split.image('a'), segmentation=mask)
    path = split.write()
    coco = COCO(str(path))
    if stops:
        with pytest.raises((TypeError, IndexError)):
            coco.annToRLE(coco.anns[101])
        with pytest.raises(UserError, match='annotation 101 of a.jpg: polygon of fewe'):
            check_datasets(load('detector', root), ['val_dataloader'])
    else:
        coco.annToRLE(coco.anns[101])
        check_datasets(load('detector', root), ['val_dataloader'])


def test_evaluation_needs_to_know_crowds(root):
    split = CocoSplit(root, 'val')
    split.annotation(split.image('a'), iscrowd=None)
    split.write()
    with pytest.raises(UserError, match=r'annotations\[0\]: damaged.* has no iscrowd'):
        check_datasets(load('detector', root), ['val_dataloader'])


def test_a_file_of_two_images_goes_on(root):
    split = CocoSplit(root, 'train')
    for _ in range(2):
        split.annotation(split.image('a'))
    split.write()
    found = find_problems(load('detector', root), ['train_dataloader'])
    kinds = [(problem.kind, problem.stops) for problem in found]
    assert kinds == [('repeated file name', False), ('class without any object', False)]
    assert dataset_of(load('detector', root))[1] == ['a', 'a']


def test_what_is_used_twice_is_read_once(root):
    plant(root, 'crowd')
    names = ['train_dataloader', 'val_dataloader', 'test_dataloader']
    assert len(list(sources_of(load('detector', root), names))) == 2
