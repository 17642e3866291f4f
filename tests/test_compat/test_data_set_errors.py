"""Data sets of any library that cannot be read, or of which nothing is left."""

import re

import pytest
from helpers.bad_data import CocoSplit, load
from mmengine.dataset import BaseDataset
from mmengine.registry import DATASETS, DefaultScope

from mmrapidnet.datasets.check.precheck import check_datasets
from mmrapidnet.utils.errors import UserError


def write_voc(root):
    (root / 'ImageSets').mkdir()
    path = root / 'ImageSets' / 'train.txt'
    path.write_text('')
    return dict(type='XMLDataset', ann_file='ImageSets/train.txt', data_prefix={}), path


def write_panoptic(root):
    coco = CocoSplit(root, 'train')
    coco.image('a', size=(8, 8))
    folders = dict(img='train2017/', seg='train2017/')
    return dict(type='CocoPanopticDataset', data_prefix=folders), coco.write()


@pytest.mark.parametrize('write', [write_voc, write_panoptic])
def test_kinds_that_the_check_does_not_know(write, tmp_path):
    cfg = load('detector', tmp_path)
    changes, path = write(tmp_path)
    dataset = cfg.train_dataloader.dataset
    dataset.pop('data_prefix')
    dataset.update(changes, filter_cfg=dict(filter_empty_gt=True, min_size=32))
    check_datasets(cfg, ['train_dataloader'])
    message = rf'^{re.escape(str(path))}: no image left: the {dataset.type} reads none'
    with (
        DefaultScope.overwrite_default_scope('mmdet'),
        pytest.raises(UserError, match=message),
    ):
        DATASETS.build(dataset)


@pytest.mark.parametrize(
    ('text', 'error'),
    [('{"images": [', 'JSONDecodeError: Expecting value: line 1'), ('{}', 'KeyError:')],
)
def test_a_file_that_a_library_cannot_read(text, error, tmp_path):
    dataset, path = write_panoptic(tmp_path)
    path.write_text(text)
    message = f'^{re.escape(str(path))}: the CocoPano.* cannot read it: {error}'
    with (
        DefaultScope.overwrite_default_scope('mmdet'),
        pytest.raises(UserError, match=message),
    ):
        DATASETS.build({**dataset, 'data_root': str(tmp_path), 'ann_file': str(path)})


def test_a_misspelt_argument_keeps_its_traceback():
    with (
        DefaultScope.overwrite_default_scope('mmdet'),
        pytest.raises(TypeError, match='ann_fil'),
    ):
        DATASETS.build(dict(type='CocoDataset', ann_fil='a.json'))


def test_a_data_set_of_ones_own_keeps_its_traceback():
    class Own(BaseDataset):
        def load_data_list(self):
            raise KeyError('a bug')

    with pytest.raises(KeyError, match='a bug'):
        Own()
