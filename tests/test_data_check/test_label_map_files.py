"""Each defect of label maps: found in one pass, named where a run meets it."""

import re

import cv2
import numpy as np
import pytest
from bad_data import FILE_KINDS, FILES, HEIGHT, JPEG, WIDTH, load
from mmengine.registry import DATASETS, DefaultScope
from PIL import Image

from mmrapidnet import compat
from mmrapidnet.data_check.bad_sample import BadSampleError
from mmrapidnet.data_check.find import find_problems
from mmrapidnet.engine.dataset_check import check_datasets
from mmrapidnet.errors import UserError

LABELS = (np.arange(HEIGHT * WIDTH).reshape(HEIGHT, WIDTH) % 8).astype(np.uint8)
UNLABELLED = np.where(LABELS == 3, 255, LABELS).astype(np.uint8)
UNKNOWN = np.where(LABELS == 3, 8, LABELS).astype(np.uint8)
SIXTEEN_BITS = LABELS.astype(np.uint16)


def png(labels):
    return cv2.imencode('.png', labels)[1].tobytes()


# Name: the label map's bytes, the kind of problem it is, and what a run says; mmseg
# handles those without.
MAPS = {
    'good': (png(LABELS), None, None),
    'unlabelled': (png(UNLABELLED), None, None),
    'sixteen_bits': (png(SIXTEEN_BITS), None, None),
    'unknown': (png(UNKNOWN), 'label map with unknown labels', 'label 7, but there ar'),
    'over_a_byte': (
        png(SIXTEEN_BITS + np.uint16(256) * (LABELS == 3)),
        'label map with unknown labels',
        None,
    ),
    'small': (
        png(LABELS[:, ::2]),
        'label map of another size than its image',
        r'the label map is 48x64 pixels, its image 96x64 pixels',
    ),
    'colours': (
        png(np.stack([LABELS] * 3, -1)),
        'label map of several channels',
        r'the label map is 96x64 pixels|LoadAnnotations fails',
    ),
    'text': (b'no labels', 'label map cannot be decoded', 'LoadAnnotations fails with'),
    'cut': (png(LABELS)[:60], 'label map cannot be decoded', 'LoadAnnotations fails'),
    'empty': (b'', 'empty label map file', None),
    'missing': (None, 'missing label map', None),
}
FAULTY = [name for name, (_, kind, _) in MAPS.items() if kind]


@pytest.fixture(autouse=True)
def _mended():
    compat.apply()


def plant(root, maps=(), files=()):
    """Both splits of Shapes' layout, with an image for each name."""
    folders = [
        root / part / split
        for part in ('images', 'annotations')
        for split in ('training', 'validation')
    ]
    for folder in folders:
        folder.mkdir(parents=True)
    for images, labels in zip(folders[:2], folders[2:], strict=True):
        for name in maps:
            (images / f'{name}.jpg').write_bytes(JPEG)
            if MAPS[name][0] is not None:
                (labels / f'{name}.png').write_bytes(MAPS[name][0])
        for name in files:
            content, (height, width) = FILES[name]
            (images / f'{name}.jpg').write_bytes(content)
            blank = np.ones((height, width), np.uint8)
            (labels / f'{name}.png').write_bytes(png(blank))
    return load('segmenter', root)


def train_set(cfg):
    with DefaultScope.overwrite_default_scope('mmseg'):
        return DATASETS.build(cfg.train_dataloader.dataset)


def test_all_are_found_in_one_pass(tmp_path):
    files = [name for name in FILES if name != 'missing']
    maps = [name for name in MAPS if name not in files]
    cfg = plant(tmp_path, maps, files)
    found = {
        (p.file.rpartition('/')[2].rpartition('.')[0], p.kind, p.stops)
        for p in find_problems(cfg, ['train_dataloader'], workers=2)
    }
    expected = {(name, MAPS[name][1], True) for name in maps if MAPS[name][1]}
    expected |= {(name, *FILE_KINDS[name]) for name in files}
    expected.add(('thin', *FILE_KINDS['wide']))
    expected.add(('one_wide', 'label map one pixel wide or high', True))
    assert found == expected


@pytest.mark.parametrize('name', ['missing', 'empty'])
def test_a_run_stops_before_training(name, tmp_path):
    cfg = plant(tmp_path, ['good', name])
    path = re.escape(f'{tmp_path}/annotations/training/{name}.png')
    with pytest.raises(UserError, match=f'^{path}: .*{MAPS[name][1]}: .*check_data'):
        check_datasets(cfg, ['train_dataloader'])


@pytest.mark.parametrize('name', [n for n in MAPS if MAPS[n][2]])
def test_a_run_names_what_it_cannot_use(name, tmp_path):
    cfg = plant(tmp_path, [name])
    check_datasets(cfg, ['train_dataloader'])
    paths = [
        f'{tmp_path}/images/training/{name}.jpg',
        f'label map {tmp_path}/annotations/training/{name}.png: ',
    ]
    with pytest.raises(BadSampleError, match=MAPS[name][2]) as error:
        train_set(cfg)[0]
    assert str(error.value).startswith(', '.join(paths))
    assert '\n' not in str(error.value)


def test_how_the_pipeline_reads_them(tmp_path):
    """0 and 255 are unlabelled, 1 is the first class; 16 bits are no matter."""
    names = ['good', 'sixteen_bits', 'unlabelled']
    cfg = plant(tmp_path, names)
    expected = np.where(LABELS == 0, 255, LABELS.astype(int) - 1)
    pipeline = [step for step in cfg.train_dataloader.dataset.pipeline]
    cfg.train_dataloader.dataset.pipeline = [*pipeline[:2], pipeline[-1]]
    dataset = train_set(cfg)
    for index, name in enumerate(names):
        labels = dataset[index]['data_samples'].gt_sem_seg.data[0].numpy()
        if name == 'unlabelled':
            expected = np.where(LABELS == 3, 255, expected)
        assert (labels == expected).all(), name


def test_unusual_images_train(tmp_path):
    names = [name for name, (_, stops) in FILE_KINDS.items() if not stops]
    dataset = train_set(plant(tmp_path, files=names))
    for index, name in enumerate(sorted(names)):
        if name == 'one_wide':
            with pytest.raises(
                BadSampleError, match=r'one_wide\.png: the label map is'
            ):
                dataset[index]
            continue
        sample = dataset[index]
        assert sample['inputs'].shape[0] == 3
        labels = sample['data_samples'].gt_sem_seg.data
        assert labels.shape[1:] == sample['inputs'].shape[1:]
        assert (labels == 0).all()


def test_labels_of_a_subset_of_classes(tmp_path):
    """mmseg maps the labels of ADE20K's other classes away: all 150 are known."""
    cfg = plant(tmp_path, ['good'])
    path = tmp_path / 'annotations' / 'training' / 'good.png'
    Image.fromarray(np.full((HEIGHT, WIDTH), 150, np.uint8)).save(path)
    dataset = cfg.train_dataloader.dataset
    dataset.type, dataset.metainfo = 'ADE20KDataset', dict(classes=('wall', 'sky'))
    assert find_problems(cfg, ['train_dataloader']) == []
    assert (train_set(cfg)[0]['data_samples'].gt_sem_seg.data == 255).all()
    Image.fromarray(np.full((HEIGHT, WIDTH), 151, np.uint8)).save(path)
    (problem,) = find_problems(cfg, ['train_dataloader'])
    assert problem.detail.startswith('151, expected 1 to 150 for the 150 classes')
