"""Each defect of ImageNet's layouts: found, handled as mmpretrain does or a stop."""

import pytest
from bad_data import FILES, JPEG
from mmengine.registry import DATASETS, DefaultScope
from tiny_pretraining import CLASSES, load_tiny, write_images

from mmrapidnet.data_check.find import find_problems
from mmrapidnet.engine.dataset_check import check_datasets
from mmrapidnet.errors import UserError

STOPPING = {
    'damaged line': ('a line of nothing', "line 13: damaged line: 'a line of nothing'"),
    'unknown class': (
        '1.JPEG 6',
        'line 13: unknown class: 6 of 1.JPEG, but there are 6',
    ),
    'missing image': ('99.JPEG 1', 'line 13: missing image: there is no such file'),
    'empty image file': (
        'empty.JPEG 1',
        'line 13: empty image file: the file has zero',
    ),
}


@pytest.fixture
def listed(tmp_path):
    root = write_images(tmp_path / 'data', 'list')
    (root / 'train' / 'empty.JPEG').write_bytes(b'')
    return load_tiny(tmp_path, root), root / 'meta' / 'train.txt'


def kinds(cfg):
    found = find_problems(cfg, ['train_dataloader', 'val_dataloader'], workers=1)
    return sorted((problem.kind, problem.stops) for problem in found)


def training_set(cfg):
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        return DATASETS.build(cfg.train_dataloader.dataset)


@pytest.mark.parametrize('kind', STOPPING)
def test_a_list_that_stops_a_run(kind, listed):
    cfg, path = listed
    line, message = STOPPING[kind]
    path.write_text(f'{path.read_text()}{line}\n')
    with pytest.raises(UserError) as error:
        check_datasets(cfg, ['train_dataloader'])
    assert f'{path}: {message}' in str(error.value)


def test_a_list_with_all_of_them(listed):
    cfg, path = listed
    lines = [line for line, _ in STOPPING.values()]
    path.write_text(path.read_text() + '\n'.join([*lines, '2.JPEG 2', '']))
    (path.parents[1] / 'train' / '3.JPEG').write_bytes(FILES['text'][0])
    expected = [(kind, True) for kind in (*STOPPING, 'image cannot be decoded')]
    # 1.JPEG with the unknown class, and 2.JPEG, each twice.
    assert kinds(cfg) == sorted([*expected, *[('image listed twice', False)] * 4])


def test_folders(tmp_path):
    root = write_images(tmp_path / 'data', 'folders')
    cfg = load_tiny(tmp_path, root)
    assert kinds(cfg) == []
    first, second = (root / 'train' / name for name in CLASSES[:2])
    (first / 'notes.txt').write_text('')
    for path in second.iterdir():
        path.unlink()
    (first / 'more').mkdir()
    (first / 'more' / 'deep.JPEG').write_bytes(JPEG)
    (first / 'cmyk.JPEG').write_bytes(FILES['cmyk'][0])
    assert kinds(cfg) == [
        ('CMYK image', False),
        ('class without images', False),
        ('file that is no image', False),
    ]
    check_datasets(cfg, ['train_dataloader'])
    dataset = training_set(cfg)
    labels = [dataset.get_gt_labels()[i] for i in range(len(dataset))]
    assert sorted(set(labels)) == [0, 2, 3, 4, 5]
    assert labels.count(0) == 4
