"""Evaluators count the images that were tested, and no others."""

import json
import operator

import pytest
import torch
from helpers.bad_data import CocoSplit
from helpers.forked import fork_ranks
from mmengine.evaluator import Evaluator
from mmengine.registry import EVALUATOR

from mmrapidnet.datasets.shapes import CLASSES
from mmrapidnet.utils.errors import UserError


@pytest.fixture
def val(tmp_path):
    """Four images with an object each, at different places."""
    return write(tmp_path, 'val', 'abcd')


def write(root, split, names):
    coco = CocoSplit(root, split)
    for number, name in enumerate(names):
        box = [10 * number, 10, 20, 20]
        coco.annotation(coco.image(name), bbox=box, segmentation=None)
    return coco.write()


def seen_in(path, *numbers, folder='data'):
    """What a perfect detector gives for some of the images of a file."""
    content = json.loads(path.read_text())
    samples = []
    for number in numbers:
        image, annotation = content['images'][number], content['annotations'][number]
        x, y, width, height = annotation['bbox']
        found = dict(
            bboxes=torch.tensor([[x, y, x + width, y + height]], dtype=torch.float32),
            scores=torch.ones(1),
            labels=torch.zeros(1, dtype=torch.long),
        )
        samples.append(
            dict(
                img_id=image['id'],
                img_path=f'{folder}/{image["file_name"]}',
                ori_shape=(image['height'], image['width']),
                pred_instances=found,
            )
        )
    return samples


def evaluator(path, metric='bbox', **options):
    metric = dict(type='mmdet.CocoMetric', ann_file=str(path), metric=metric)
    built = Evaluator({**metric, **options})
    built.dataset_meta = dict(classes=CLASSES)
    return built


def evaluate(built, samples):
    built.process(samples, None)
    return built.evaluate(len(samples))


def test_images_that_were_not_tested_do_not_count(val):
    """Also by the next validation, of others."""
    built = evaluator(val, metric_items=['mAP'])
    assert evaluate(built, seen_in(val, 0, 2)) == {'coco/bbox_mAP': 1.0}
    assert evaluate(built, seen_in(val, 1)) == {'coco/bbox_mAP': 1.0}
    samples = seen_in(val, 0, 1, 2, 3)
    samples[3]['pred_instances']['bboxes'] += 50
    # Recall ends at 3/4: 76 of 101 points.
    assert evaluate(built, samples) == {'coco/bbox_mAP': pytest.approx(0.752, abs=6e-4)}


def test_proposals_are_compared_in_the_order_tested(val):
    built = evaluator(val, 'proposal_fast', proposal_nums=(10,))
    assert evaluate(built, seen_in(val, 3, 1, 0)) == {'coco/AR@10': 1.0}


def test_images_of_another_file(val, tmp_path):
    other = write(tmp_path, 'train', 'xbyz')
    with pytest.raises(UserError, match=r'id 1 is x.jpg there, data/a.jpg here'):
        evaluate(evaluator(other), seen_in(val, 1, 0))
    # The same file.
    assert evaluate(evaluator(other), seen_in(val, 1))['coco/bbox_mAP'] == 1.0
    short = write(tmp_path, 'short', 'ab')
    with pytest.raises(UserError, match=r'id 4 \(data/d.jpg\) is not there'):
        evaluate(evaluator(short), seen_in(val, 0, 3))


def test_images_with_one_id(val, tmp_path):
    other = write(tmp_path, 'train', 'abcd')
    with pytest.raises(UserError, match=r'2 images that were tested have the id 2: '):
        evaluate(evaluator(val), [*seen_in(val, 0, 1), *seen_in(other, 1)])


def test_an_evaluator_for_each_data_set(val, tmp_path):
    """Each is shown all samples, but counts its own."""
    other = write(tmp_path, 'train', 'xyz')
    metrics = [
        dict(type='mmdet.CocoMetric', ann_file=str(path), metric_items=['mAP'])
        for path in (val, other)
    ]
    kind = 'mmdet.MultiDatasetsEvaluator'
    prefixes = ['one', 'two']
    built = EVALUATOR.build(dict(type=kind, metrics=metrics, dataset_prefixes=prefixes))
    built.dataset_meta = dict(classes=CLASSES, cumulative_sizes=[2, 5])
    samples = [*seen_in(val, 0, 1), *seen_in(other, 0, 1, 2)]
    assert evaluate(built, samples) == {
        'one/coco/bbox_mAP': 1.0,
        'two/coco/bbox_mAP': 1.0,
    }


def test_two_processes(val, tmp_path):
    """Three images for two: the last comes twice, as mmengine's sampler has it."""

    def job(rank):
        built = evaluator(val, metric_items=['mAP'])
        built.process(seen_in(val, *((0, 2), (1, 0))[rank]), None)
        (tmp_path / f'{rank}.json').write_text(json.dumps(built.evaluate(3)))

    ranks = fork_ranks(2, job)
    for process in ranks:
        process.join(100)
    assert list(map(operator.attrgetter('exitcode'), ranks)) == [0, 0]
    for rank in range(2):
        found = json.loads((tmp_path / f'{rank}.json').read_text())
        assert found == {'coco/bbox_mAP': 1.0}
