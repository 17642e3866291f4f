"""Labels follow names, and every annotation counts, whatever a file's ids are."""

import json

import numpy as np
import pytest
from helpers.coco_truth import CLASSES, OBJECTS, evaluate, learnt, write
from mmdet.datasets import CocoPanopticDataset
from mmdet.datasets.api_wrappers import COCO, COCOPanoptic
from pycocotools import coco
from pycocotools.cocoeval import COCOeval

from mmrapidnet.utils.errors import UserError

OTHER_ORDER = ('dog', 'bird', 'cat')


@pytest.mark.parametrize(
    ('categories', 'classes'),
    [
        ([(1, 'cat'), (2, 'dog'), (3, 'bird')], CLASSES),
        ([(1, 'cat'), (2, 'dog'), (3, 'bird')], OTHER_ORDER),
        ([(3, 'bird'), (2, 'dog'), (1, 'cat')], CLASSES),
        ([(7, 'cat'), (0, 'bird'), (5, 'dog')], OTHER_ORDER),
        ([(4, 'bird'), (9, 'fish'), (2, 'cat'), (1, 'dog')], CLASSES),
        # Each listed several times.
        ([(1, 'cat'), (2, 'dog'), (3, 'bird')] * 3, OTHER_ORDER),
        ([('c', 'cat'), ('a', 'dog'), ('b', 'bird')], CLASSES),
        # One without objects.
        ([(0, 'cat'), (1, 'cat'), (2, 'dog'), (3, 'bird')], OTHER_ORDER),
    ],
)
def test_labels_follow_names(categories, classes, tmp_path):
    path = write(tmp_path / 'a.json', categories)
    assert learnt(path, classes) == OBJECTS
    prefix = str(tmp_path / 'results')
    metrics = evaluate(path, classes, outfile_prefix=prefix)
    assert metrics['coco/bbox_mAP'] == metrics['coco/segm_mAP'] == 1
    # The file of results has the ids of the file of annotations.
    results = json.loads((tmp_path / 'results.bbox.json').read_text())
    truth = json.loads((tmp_path / 'a.json').read_text())['annotations']
    assert [r['category_id'] for r in results] == [a['category_id'] for a in truth]


def test_a_file_without_some_of_the_classes(tmp_path):
    """What it has is judged as ever; objects of others are neither right nor wrong."""
    path = write(tmp_path / 'a.json', [(2, 'bird'), (1, 'dog')])
    there = {
        image: [thing for thing in things if thing[0] != 'cat']
        for image, things in OBJECTS.items()
    }
    assert learnt(path) == there
    assert evaluate(path)['coco/bbox_mAP'] == 1
    # Half of the dogs are taken for cats: precision is 1 up to a recall of 0.5.
    wrong = {3: [('cat', (50, 10, 90, 60))], 8: OBJECTS[8]}
    dog = 51 / 101
    assert evaluate(path, objects=wrong)['coco/bbox_mAP'] == pytest.approx(
        (1 + dog) / 2, abs=6e-4
    )


@pytest.mark.parametrize(('parallel', 'numbers'), [(0, 1), (1, 1), (0, 0)])
def test_figures_per_class(parallel, numbers, tmp_path):
    """Under the names of their own classes, in whatever order the ids are."""
    ids = (9, 5, 1) if numbers else ('nine', 'five', 'a')
    path = write(tmp_path / 'a.json', list(zip(ids, CLASSES)))
    birds = {
        image: [o for o in things if o[0] != 'dog'] for image, things in OBJECTS.items()
    }
    options = {'classwise': True, 'use_mp_eval': bool(parallel), 'metric': ['bbox']}
    classes = ('bird', 'cat', 'fish', 'dog')
    metrics = evaluate(path, classes, birds, **options)
    figures = {name: metrics[f'coco/{name}_precision'] for name in CLASSES}
    assert figures == {'cat': 1, 'dog': 0, 'bird': 1}


@pytest.mark.parametrize(
    'ids', [(0, 1, 2, 3), ('a', 'b', 'c', 'd'), (7, 7, 7, 7), (-3, 0, '1', 2)]
)
def test_ids_of_annotations(ids, tmp_path):
    path = write(tmp_path / 'a.json', [(1, 'cat'), (2, 'dog'), (3, 'bird')], ids=ids)
    assert learnt(path) == OBJECTS
    metrics = evaluate(path)
    assert metrics['coco/bbox_mAP'] == metrics['coco/segm_mAP'] == 1
    one = {3: OBJECTS[3]}
    path = write(tmp_path / 'b.json', [(1, 'cat'), (2, 'dog')], one, ids[:2])
    assert evaluate(path, objects=one)['coco/bbox_mAP'] == 1


def test_one_name_for_two_categories_with_objects(tmp_path):
    path = write(tmp_path / 'a.json', [(1, 'cat'), (4, 'cat'), (2, 'dog')])
    content = json.loads((tmp_path / 'a.json').read_text())
    content['annotations'][1]['category_id'] = 4
    (tmp_path / 'a.json').write_text(json.dumps(content))
    for use in (learnt, evaluate):
        with pytest.raises(
            UserError, match="are called 'cat'.* of ids 1 and 4: rename"
        ):
            use(path)


def test_ids_by_other_things_than_names(tmp_path):
    path = write(tmp_path / 'a.json', [(7, 'cat'), (0, 'bird'), (5, 'dog')])
    api = COCO(path)
    assert api.get_cat_ids() == [7, 0, 5]
    assert api.get_cat_ids(cat_ids=[0, 7]) == [7, 0]
    assert api.get_cat_ids('dog') == [5]


def panoptic(path, names):
    segments = [
        {
            'id': 100 + number,
            'category_id': number,
            'bbox': [0, 0, 9, 9],
            'area': 81,
            'iscrowd': 0,
        }
        for number in range(len(names))
    ]
    categories = [
        {'id': number, 'name': name, 'isthing': int(name != 'sky')}
        for number, name in enumerate(names)
    ]
    image = {'id': 1, 'file_name': 'a.jpg', 'height': 9, 'width': 9}
    annotation = {'image_id': 1, 'file_name': 'a.png', 'segments_info': segments}
    content = {
        'images': [image],
        'annotations': [annotation],
        'categories': categories[::-1],
    }
    path.write_text(json.dumps(content))
    return str(path)


def test_panoptic_labels_follow_names(tmp_path):
    path = panoptic(tmp_path / 'a.json', (*CLASSES, 'sky'))
    classes = ('dog', 'sky', 'bird', 'cat')
    meta = {'classes': classes, 'thing_classes': CLASSES, 'stuff_classes': ('sky',)}
    dataset = CocoPanopticDataset(
        ann_file=path,
        metainfo=meta,
        data_prefix={'img': '', 'seg': ''},
        pipeline=[],
    )
    segments = dataset.get_data_info(0)['segments_info']
    assert {s['id']: classes[s['category']] for s in segments} == {
        100: 'cat',
        101: 'dog',
        102: 'bird',
        103: 'sky',
    }
    with pytest.raises(UserError, match="no category 'fish'.*panoptic quality"):
        COCOPanoptic(path).get_cat_ids(cat_names=['cat', 'fish'])


def test_axes_of_evaluation_keep_the_order_asked_for(tmp_path):
    """Also where pycocotools is used by itself."""
    path = write(tmp_path / 'a.json', [(9, 'cat'), (5, 'dog'), (1, 'bird')])
    truth = coco.COCO(path)
    dogs = [{**a, 'score': 1.0} for a in truth.loadAnns(truth.getAnnIds(catIds=[5]))]
    predictions = truth.loadRes(json.loads(json.dumps(dogs)))
    found = {}
    for order in ([1, 5, 9], [5, 9, 1]):
        evaluation = COCOeval(truth, predictions, 'bbox')
        evaluation.params.catIds = order
        evaluation.evaluate()
        evaluation.accumulate()
        assert evaluation.eval['params'].catIds == order
        found[tuple(order)] = evaluation.eval['recall'][0, :, 0, -1].tolist()
    assert found == {(1, 5, 9): [0, 1, 0], (5, 9, 1): [1, 0, 0]}
    assert np.array_equal(evaluation.params.catIds, [1, 5, 9])
