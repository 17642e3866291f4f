"""Each defect of ImageNet's layouts: found, handled as mmpretrain does or a stop."""

import codecs

import pytest
from helpers.bad_data import FILES, JPEG
from helpers.tiny_pretraining import CLASSES, load_tiny, write_images
from mmengine.registry import DATASETS, DefaultScope

from mmrapidnet.datasets.check.precheck import check_datasets
from mmrapidnet.datasets.check.run import find_problems
from mmrapidnet.utils.errors import UserError

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


def test_a_list_of_one_class(listed):
    cfg, path = listed
    lines = [line.split() for line in path.read_text().splitlines()]
    path.write_text(''.join(f'{name} 2\n' for name, _ in lines))
    message = (
        rf'{path}: nothing to learn: the images left are 12 of {CLASSES[2]} \(2\);'
    )
    with pytest.raises(UserError, match=message):
        check_datasets(cfg, ['train_dataloader'])
    # It can be tested on, and what never occurs is told.
    cfg.test_dataloader.dataset.update(split='train')
    check_datasets(cfg, ['test_dataloader'])
    found = find_problems(cfg, ['test_dataloader'], workers=1)
    assert [p.detail for p in found if p.kind == 'class without images'] == [
        f'no image of {name} ({number}): nothing of it is measured'
        for number, name in enumerate(CLASSES)
        if number != 2
    ]


def test_a_model_of_other_classes(listed):
    cfg, _ = listed
    cfg.model.head.classifier.num_classes = 7
    with pytest.raises(
        UserError, match=r'6 classes .* model.head.classifier.num_classes=7;'
    ):
        check_datasets(cfg, ['train_dataloader'])


def custom(cfg, root, **options):
    """mmpretrain's own kind for one's own data, with a prefix as it documents it."""
    for name in ('train', 'val'):
        loader = cfg[f'{name}_dataloader']
        loader.dataset = dict(
            type='CustomDataset',
            data_root=str(root),
            data_prefix=name,
            pipeline=loader.dataset.pipeline,
            **options,
        )
    return cfg


def test_a_prefix_that_is_a_string(tmp_path):
    """The folders are the classes."""
    root = write_images(tmp_path / 'data', 'folders')
    cfg = custom(load_tiny(tmp_path, root), root)
    check_datasets(cfg, ['train_dataloader', 'val_dataloader'])
    assert kinds(cfg) == []
    assert training_set(cfg).CLASSES == CLASSES
    cfg.model.head.classifier.num_classes = 5
    with pytest.raises(
        UserError, match=r'6 classes \(blue, .*classifier.num_classes=5'
    ):
        check_datasets(cfg, ['train_dataloader'])
    custom(cfg, root, classes=CLASSES[:5])
    message = r'folders of other classes: 6 folders instead of 5, one for each class'
    with pytest.raises(UserError, match=message):
        check_datasets(cfg, ['train_dataloader'])
    cfg.train_dataloader.dataset.data_prefix = 'gone'
    with pytest.raises(
        UserError, match=r'data/gone is missing; expected there: gone; '
    ):
        check_datasets(cfg, ['train_dataloader'])


@pytest.mark.parametrize('kind', ['ImageNet', 'CustomDataset'])
def test_folders_in_another_order_than_the_classes(kind, tmp_path):
    """mmpretrain numbers folders by the alphabet, and names them by `classes`."""
    root = write_images(tmp_path / 'data', 'folders')
    cfg = load_tiny(tmp_path, root)
    if kind == 'CustomDataset':
        custom(cfg, root)
    cfg.train_dataloader.dataset.classes = CLASSES[::-1]
    dataset = training_set(cfg)
    first = dataset.get_data_info(0)
    assert '/blue/' in first['img_path']
    assert dataset.CLASSES[first['gt_label']] == 'yellow'
    message = (
        'folders of other classes: the folder blue is number 0 of them in '
        'alphabetical order, but 5 of `classes`'
    )
    with pytest.raises(UserError, match=message):
        check_datasets(cfg, ['train_dataloader'])


def test_a_list_without_names_of_classes(listed):
    """The model alone says how many there are."""
    cfg, path = listed
    custom(cfg, path.parents[1], ann_file='meta/train.txt')
    check_datasets(cfg, ['train_dataloader'])
    cfg.model.head.classifier.num_classes = 5
    message = r'unknown class: 5 of 5.JPEG, but model.head.classifier.num_classes=5'
    with pytest.raises(UserError, match=message):
        check_datasets(cfg, ['train_dataloader'])


def test_no_image_left(tmp_path):
    root = write_images(tmp_path / 'data', 'folders')
    cfg = custom(load_tiny(tmp_path, root), root, extensions=('.jpg', '.bmp'))
    message = r'train: no image left: no file below it is one of .bmp, .jpg;'
    with pytest.raises(UserError, match=message):
        check_datasets(cfg, ['train_dataloader'])
    (root / 'none.txt').write_text('')
    custom(cfg, root, ann_file='none.txt')
    with pytest.raises(UserError, match=r'none.txt: no image left: it lists none'):
        check_datasets(cfg, ['train_dataloader'])


def test_a_byte_order_mark(listed):
    cfg, path = listed
    path.write_bytes(codecs.BOM_UTF8 + path.read_bytes())
    with pytest.raises(UserError, match=f'^{path} begins with a byte-order mark'):
        check_datasets(cfg, ['train_dataloader'])


@pytest.mark.parametrize('layout', ['folders', 'list'])
def test_images_without_labels(layout, tmp_path):
    root = write_images(tmp_path / 'data', 'folders')
    options = {}
    if layout == 'list':
        (root / 'all.txt').write_text('blue/0.JPEG\ncyan/1.JPEG\n')
        options['ann_file'] = 'all.txt'
    cfg = custom(load_tiny(tmp_path, root), root, with_label=False, **options)
    check_datasets(cfg, ['train_dataloader'])
    found = find_problems(cfg, ['train_dataloader'], workers=1)
    # A list leaves out what it does not name.
    notes = {'images without a record'} if layout == 'list' else set()
    assert {problem.kind for problem in found} == notes
    assert not any(problem.stops for problem in found)
