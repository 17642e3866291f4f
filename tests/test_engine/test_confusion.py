"""Which class was taken for which: by hand, as the libraries count, in the files."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from helpers.forked import fork_ranks
from mmengine.config import Config
from mmengine.evaluator import Evaluator

from mmrapidnet.engine.confusion import (
    ClassConfusion,
    count_confusion,
    find_confusion,
    list_class_figures,
)
from mmrapidnet.engine.confusion_files import share_of_rows, write_confusion
from mmrapidnet.utils.errors import UserError

CLASSES = ('sky', 'road', 'tree', 'sign')
# Label maps and what is predicted for them; 255 is not counted, a sign never occurs.
TRUTH = [[0, 0, 0, 1, 1, 255], [1, 1, 2, 2, 2, 0]]
FOUND = [[0, 0, 1, 1, 1, 0], [1, 0, 2, 2, 1, 3]]
MATRIX = [[2, 1, 0, 1], [1, 3, 0, 0], [0, 1, 2, 0], [0, 0, 0, 0]]


def pixels(truth, found):
    data = (torch.tensor(labels).reshape(1, 2, 3) for labels in (truth, found))
    truth, found = ({'data': labels} for labels in data)
    return {'gt_sem_seg': truth, 'pred_sem_seg': found, 'img_path': 'a.jpg'}


def image(truth, found):
    scores = torch.nn.functional.one_hot(torch.tensor(found), len(CLASSES)).float()
    return {'gt_label': torch.tensor([truth]), 'pred_score': scores}


MAPS = [pixels(t, f) for t, f in zip(TRUTH, FOUND)]
IMAGES = [
    image(t, f)
    for truth, found in zip(TRUTH, FOUND)
    for t, f in zip(truth, found)
    if t != 255
]


def evaluate(samples, *metrics, classes=CLASSES):
    evaluator = Evaluator(list(metrics))
    evaluator.dataset_meta = {'classes': classes}
    for sample in samples:
        evaluator.process([sample])
    return evaluator, evaluator.evaluate(len(samples))


def test_pixels_by_hand_and_as_mmseg_counts():
    from mmseg.evaluation import IoUMetric

    evaluator, metrics = evaluate(MAPS, IoUMetric(), ClassConfusion('pixels', 255))
    confusion = find_confusion(evaluator)
    assert confusion.matrix.tolist() == MATRIX
    figures = list_class_figures(confusion)
    assert figures == [
        {'class': 'sky', 'IoU': 40.0, 'Acc': 50.0},  # 2 of 5, 2 of 4
        {'class': 'road', 'IoU': 50.0, 'Acc': 75.0},  # 3 of 6, 3 of 4
        {'class': 'tree', 'IoU': 66.67, 'Acc': 66.67},  # 2 of 3
        {'class': 'sign', 'IoU': 0.0, 'Acc': None},  # predicted, but never there
    ]
    assert set(metrics) == {'aAcc', 'mIoU', 'mAcc'}
    assert metrics['mIoU'] == pytest.approx(
        np.mean([f['IoU'] for f in figures]), abs=0.006
    )
    assert metrics['mAcc'] == pytest.approx(np.mean([50, 75, 66.67]), abs=0.006)
    assert metrics['aAcc'] == pytest.approx(100 * 7 / 11, abs=0.006)


def test_images_by_hand_and_as_mmpretrain_counts():
    from mmpretrain.evaluation import ConfusionMatrix, SingleLabelMetric

    items = ('precision', 'recall', 'f1-score', 'support')
    theirs = SingleLabelMetric(average=None, items=items)
    evaluator, metrics = evaluate(
        IMAGES, theirs, ConfusionMatrix(), ClassConfusion('images')
    )
    confusion = find_confusion(evaluator)
    assert confusion.matrix.tolist() == MATRIX
    assert metrics['confusion_matrix/result'].tolist() == MATRIX
    figures = list_class_figures(confusion)
    assert figures[0] == {
        'class': 'sky',
        'precision': 66.67,
        'recall': 50.0,
        'f1-score': 57.14,
        'support': 4,
    }
    # Theirs are 0 where ours say that there was nothing to be right about.
    assert figures[3] == {
        'class': 'sign',
        'precision': 0.0,
        'recall': None,
        'f1-score': 0.0,
        'support': 0,
    }
    for item in items:
        values = metrics[f'single-label/{item}_classwise']
        assert [f[item] or 0 for f in figures] == pytest.approx(values, abs=0.006)


def test_labels_without_scores_and_classes_without_names():
    samples = [
        {'gt_label': torch.tensor([t]), 'pred_label': torch.tensor([f])}
        for t, f in [(0, 0), (2, 1), (255, 255)]
    ]
    evaluator, _ = evaluate(samples[:2], ClassConfusion('images'), classes=None)
    confusion = find_confusion(evaluator)
    assert confusion.matrix.tolist() == [[1, 0, 0], [0, 0, 0], [0, 1, 0]]
    assert [f['class'] for f in list_class_figures(confusion)] == ['0', '1', '2']
    # A label as any other, among images.
    names = [str(number) for number in range(256)]
    evaluator, _ = evaluate(samples, ClassConfusion('images'), classes=names)
    assert find_confusion(evaluator).matrix[255, 255] == 1


def test_a_class_too_many():
    message = 'the model predicts class 3, counted from 0, but the data set has 3 class'
    with pytest.raises(UserError, match=message):
        evaluate(MAPS, ClassConfusion('pixels', 255), classes=CLASSES[:3])


def test_nothing_but_ignored_pixels():
    sample = pixels([255] * 6, [0] * 6)
    evaluator, _ = evaluate([sample], ClassConfusion('pixels', 255))
    figures = list_class_figures(find_confusion(evaluator))
    assert figures[0] == {'class': 'sky', 'IoU': None, 'Acc': None}


def test_two_processes_count_each_image_once(tmp_path):
    """The sampler gives the second one the first image again, to have as many."""
    images = IMAGES[:3]

    def job(rank):
        evaluator = Evaluator(ClassConfusion('images'))
        evaluator.dataset_meta = {'classes': CLASSES}
        for number in ((0, 2), (1, 0))[rank]:
            evaluator.process([images[number]])
        evaluator.evaluate(3)
        confusion = find_confusion(evaluator)
        np.save(tmp_path / str(rank), -1 if confusion is None else confusion.matrix)

    for process in fork_ranks(2, job):
        process.join(60)
        assert process.exitcode == 0
    evaluator, _ = evaluate(images, ClassConfusion('images'))
    expected = find_confusion(evaluator).matrix
    assert expected.sum() == 3
    assert np.load(tmp_path / '0.npy').tolist() == expected.tolist()
    assert np.load(tmp_path / '1.npy') == -1


IOU = dict(type='IoUMetric', iou_metrics=['mIoU'], ignore_index=7)
TOP1 = dict(type='mmpretrain.Accuracy', topk=1)
PIXELS = dict(type='ClassConfusion', unit='pixels', ignore_index=7)
COUNTED = dict(type='ClassConfusion', unit='images')


@pytest.mark.parametrize(
    ('given', 'expected'),
    [
        (IOU, [IOU, PIXELS]),
        ([TOP1, dict(type='Other')], [TOP1, dict(type='Other'), COUNTED]),
        (
            dict(type='Evaluator', metrics=IOU),
            dict(type='Evaluator', metrics=[IOU, PIXELS]),
        ),
        (dict(type='CocoMetric'), None),
        (dict(IOU, format_only=True), None),
        (
            dict(type='MultiDatasetsEvaluator', metrics=[IOU], dataset_prefixes=['a']),
            None,
        ),
        (None, None),
    ],
)
def test_what_is_counted_follows_the_metrics(given, expected):
    cfg = Config(dict(test_evaluator=given))
    before = cfg.to_dict()
    assert count_confusion(cfg, 'test_evaluator') == (expected is not None)
    if expected is None:
        assert cfg.to_dict() == before
    else:
        assert cfg.test_evaluator == expected
        assert cfg.custom_imports.imports == ['mmrapidnet.engine.confusion']


def test_the_files(tmp_path):
    from PIL import Image

    evaluator, _ = evaluate(MAPS, ClassConfusion('pixels', 255))
    write_confusion(find_confusion(evaluator), tmp_path / 'new')
    record = json.loads((tmp_path / 'new' / 'confusion_matrix.json').read_text())
    assert record == {
        'rows': 'ground truth',
        'columns': 'prediction',
        'unit': 'pixels',
        'classes': list(CLASSES),
        'matrix': MATRIX,
    }
    picture = np.asarray(Image.open(tmp_path / 'new' / 'confusion_matrix.png'))
    assert min(picture.shape[:2]) > 300
    assert len(np.unique(picture[..., :3].reshape(-1, 3), axis=0)) > 10
    shares = share_of_rows(np.array(MATRIX))
    assert shares[0].tolist() == [0.5, 0.25, 0, 0.25]
    assert np.isnan(shares[3]).all()


def test_a_picture_of_many_classes(tmp_path):
    matrix = np.random.default_rng(0).integers(0, 50, (100, 100))
    many = SimpleNamespace(matrix=matrix, classes=['a'] * 100, unit='images')
    write_confusion(many, tmp_path)
    assert (tmp_path / 'confusion_matrix.png').stat().st_size > 1000
