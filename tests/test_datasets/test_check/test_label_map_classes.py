"""The labels of label maps against head and loss: nothing to learn, other labels."""

import re

import pytest
from helpers.bad_data import HEIGHT, WIDTH
from helpers.label_maps import mask, segment, train_set

from mmrapidnet import compat
from mmrapidnet.datasets.check.bad_sample import BadSampleError
from mmrapidnet.datasets.check.precheck import check_datasets
from mmrapidnet.datasets.check.run import find_problems
from mmrapidnet.utils.errors import UserError


def many(value, count=20):
    """Masks without any foreground, but for the second to last."""
    maps = {f'{n:02}': mask(0) for n in range(count)}
    return {**maps, f'{count - 2:02}': mask(value)}


HALF = HEIGHT * WIDTH // 2


@pytest.mark.parametrize('split', ['train', 'val'])
def test_masks_of_0_and_255(split, tmp_path):
    cfg = segment(tmp_path, {'a': mask(255), 'b': mask(255)}, split=split)
    names = [f'{split}_dataloader']
    wanted = (
        rf'nothing to learn: the pixels left are {2 * HALF:,} of background \(0\); '
        rf'{2 * HALF:,} have label 255, which is ignored: write the number of their '
    )
    with pytest.raises(UserError, match=wanted):
        check_datasets(cfg, names)
    (problem,) = find_problems(cfg, names)
    assert re.match(wanted, f'{problem.kind}: {problem.detail}')
    segment(tmp_path, {'b': mask(1)}, split=split)
    check_datasets(cfg, names)
    assert find_problems(cfg, names) == []


def test_masks_of_what_is_only_predicted_on(tmp_path):
    cfg = segment(tmp_path, {'a': mask(0)}, split='val')
    cfg.test_evaluator = dict(type='IoUMetric', format_only=True, output_dir='out')
    check_datasets(cfg, ['test_dataloader'])
    found = {p.kind for p in find_problems(cfg, ['test_dataloader'])}
    assert found == set()
    (tmp_path / 'annotations' / 'validation' / 'a.png').unlink()
    # The pipeline would read it.
    with pytest.raises(UserError, match='a.png: .*: missing label map'):
        check_datasets(cfg, ['test_dataloader'])


def test_a_class_that_is_hard_to_find(tmp_path):
    """All label maps are read before a run is stopped."""
    cfg = segment(tmp_path, many(1))
    check_datasets(cfg, ['train_dataloader'])
    segment(tmp_path, many(255))
    with pytest.raises(UserError, match=r'nothing to learn: .* of background \(0\); 3'):
        check_datasets(cfg, ['train_dataloader'])


def test_data_sets_that_are_learnt_together(tmp_path):
    """One has the background alone, the other the foreground."""
    cfg = segment(tmp_path / 'a', {'a': mask(0)})
    other = segment(tmp_path / 'b', {'b': mask(0) + 1}).train_dataloader.dataset
    both = [cfg.train_dataloader.dataset, other]
    cfg.train_dataloader.dataset = dict(type='ConcatDataset', datasets=both)
    check_datasets(cfg, ['train_dataloader'])
    assert find_problems(cfg, ['train_dataloader']) == []
    both[1].data_root = both[0].data_root
    cfg.train_dataloader.dataset = dict(type='ConcatDataset', datasets=both)
    with pytest.raises(UserError, match='nothing to learn: the pixels left are 6,144'):
        check_datasets(cfg, ['train_dataloader'])


def test_a_class_without_pixels_is_told(tmp_path):
    cfg = segment(tmp_path, {'a': mask(2)}, ('sky', 'road', 'car'))
    check_datasets(cfg, ['train_dataloader'])
    (problem,) = find_problems(cfg, ['train_dataloader'])
    assert (problem.kind, problem.stops) == ('class without pixels', False)
    assert problem.detail == 'no pixel of road (1): nothing of it is learnt'


def test_one_channel_under_a_softmax(tmp_path):
    cfg = segment(tmp_path, {'a': mask(1)}, ('crack',))
    with pytest.raises(UserError, match=r'model.decode_head has one channel under a'):
        check_datasets(cfg, ['train_dataloader'])


@pytest.mark.parametrize('count', [1, 2])
def test_one_channel_and_a_threshold(count, tmp_path):
    """mmseg's way for two classes, whether the head counts one of them or both."""
    cfg = segment(tmp_path, {'a': mask(1)})
    loss = dict(type='CrossEntropyLoss', use_sigmoid=True)
    cfg.model.decode_head.update(num_classes=count, out_channels=1, loss_decode=loss)
    check_datasets(cfg, ['train_dataloader'])


def test_another_label_for_none(tmp_path):
    """Of the checks and of the patch alike, once data and head have the same."""
    compat.apply()
    cfg = segment(tmp_path, {'a': mask(1), 'b': mask(2)})
    with pytest.raises(UserError, match='label map with unknown labels: 2, expected 0'):
        check_datasets(cfg, ['train_dataloader'])
    with pytest.raises(BadSampleError, match=r'label 2, .*\(ignore_index\) is 255'):
        train_set(cfg)[1]
    cfg.model.decode_head.ignore_index = 2
    with pytest.raises(UserError, match=r'255, but model.decode_head.ignore_index=2; '):
        check_datasets(cfg, ['train_dataloader'])
    cfg.train_dataloader.dataset.ignore_index = 2
    with pytest.raises(UserError, match='label around images: 2, but seg_pad_val of '):
        check_datasets(cfg, ['train_dataloader'])
    cfg.model.data_preprocessor.seg_pad_val = 2
    check_datasets(cfg, ['train_dataloader'])
    assert find_problems(cfg, ['train_dataloader']) == []
    read = train_set(cfg)[1]['data_samples'].gt_sem_seg.data
    assert set(read.unique().tolist()) == {0, 2}
    segment(tmp_path, {'a': mask(255)})
    with pytest.raises(UserError, match='unknown labels: 255, .* and 2 for none'):
        check_datasets(cfg, ['train_dataloader'])


@pytest.mark.parametrize('several', [False, True])
def test_another_label_for_none_in_the_evaluator(several, tmp_path):
    """It would count what is predicted for such pixels as mistakes."""
    cfg = segment(tmp_path, {'a': mask(1), 'b': mask(2)}, split='val')
    cfg.model.decode_head.ignore_index = cfg.val_dataloader.dataset.ignore_index = 2
    metric = dict(type='mmseg.IoUMetric', iou_metrics=['mIoU'])
    cfg.val_evaluator = [dict(type='DumpResults'), metric] if several else metric
    message = r'than the evaluator: 2, but ignore_index=255 in val_evaluator; give both'
    with pytest.raises(UserError, match=message):
        check_datasets(cfg, ['val_dataloader'])
    (problem,) = find_problems(cfg, ['val_dataloader'])
    assert problem.stops
    metric['ignore_index'] = 2
    cfg.val_evaluator = metric
    check_datasets(cfg, ['val_dataloader'])
    assert find_problems(cfg, ['val_dataloader']) == []


@pytest.mark.parametrize(
    ('step', 'said', 'fill'),
    [
        (
            dict(type='RandomRotate', prob=1.0),
            'seg_pad_val of RandomRotate is 255',
            lambda label: dict(seg_pad_val=label),
        ),
        (
            dict(type='mmseg.RandomMosaic', prob=1.0),
            'seg_pad_val of RandomMosaic is 255',
            lambda label: dict(seg_pad_val=label),
        ),
        (
            dict(type='Pad', size=(512, 512), pad_val=0),
            "pad_val['seg'] of Pad is 255",
            lambda label: dict(pad_val=dict(img=0, seg=label)),
        ),
        (
            dict(
                type='mmseg.RandomCutOut',
                prob=1.0,
                n_holes=1,
                cutout_shape=(4, 4),
                seg_fill_in=77,
            ),
            'seg_fill_in of RandomCutOut is 77',
            lambda label: dict(seg_fill_in=label),
        ),
    ],
)
def test_a_step_that_adds_another_label(step, said, fill, tmp_path):
    cfg = segment(tmp_path, {'a': mask(1)}, tuple('abcdefgh'))
    cfg.model.decode_head.ignore_index = cfg.train_dataloader.dataset.ignore_index = 9
    cfg.model.data_preprocessor.seg_pad_val = 9
    cfg.train_dataloader.dataset.pipeline.insert(2, step)
    found = find_problems(cfg, ['train_dataloader'])
    (detail,) = (p.detail for p in found if p.kind == 'other label around images')
    assert detail.startswith(f'9, but {said}')
    # As the first of the classes it is learnt.
    for label in (9, 0):
        cfg.train_dataloader.dataset.pipeline[2] = {**step, **fill(label)}
        assert not any(p.stops for p in find_problems(cfg, ['train_dataloader']))
