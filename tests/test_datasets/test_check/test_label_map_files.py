"""Each defect of label maps: found in one pass, named where a run meets it."""

import re

import numpy as np
import pytest
from helpers.bad_data import FILE_KINDS, FILES, HEIGHT, JPEG, WIDTH, load
from helpers.label_maps import png, segment, train_set
from PIL import Image

from mmrapidnet import compat
from mmrapidnet.datasets.check.bad_sample import BadSampleError
from mmrapidnet.datasets.check.precheck import check_datasets
from mmrapidnet.datasets.check.run import find_problems
from mmrapidnet.utils.errors import UserError

LABELS = (np.arange(HEIGHT * WIDTH).reshape(HEIGHT, WIDTH) % 8).astype(np.uint8)
UNLABELLED = np.where(LABELS == 3, 255, LABELS).astype(np.uint8)
UNKNOWN = np.where(LABELS == 3, 8, LABELS).astype(np.uint8)
SIXTEEN_BITS = LABELS.astype(np.uint16)

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
        r'the label map has 3 channels instead of one number per pixel',
    ),
    'text': (b'no labels', 'label map cannot be decoded', 'LoadAnnotations fails with'),
    'cut': (png(LABELS)[:60], 'label map cannot be decoded', 'LoadAnnotations fails'),
    'empty': (b'', 'empty label map file', None),
    'missing': (None, 'missing label map', None),
}
FAULTY = [name for name, (_, kind, _) in MAPS.items() if kind]


@pytest.fixture(autouse=True)
def _patched():
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
    """Before it starts if it is among the few that are read then, or when it comes."""
    cfg = plant(tmp_path, [name])
    with pytest.raises(UserError, match=f'{name}.png: label map .*{MAPS[name][1]}: '):
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


@pytest.mark.parametrize('classes', [('wall', 'sky'), ('sky', 'wall')])
def test_labels_of_a_subset_of_classes(classes, tmp_path):
    """mmseg maps the labels of ADE20K's other classes away: all 150 are known."""
    cfg = plant(tmp_path, ['good'])
    path = tmp_path / 'annotations' / 'training' / 'good.png'
    labels = np.full((HEIGHT, WIDTH), 150, np.uint8)
    labels[0], labels[1] = 1, 3
    Image.fromarray(labels).save(path)
    dataset = cfg.train_dataloader.dataset
    dataset.type, dataset.metainfo = 'ADE20KDataset', dict(classes=classes)
    cfg.model.decode_head.num_classes = 2
    assert find_problems(cfg, ['train_dataloader']) == []
    dataset.pipeline = [*dataset.pipeline[:2], dataset.pipeline[-1]]
    (read,) = train_set(cfg)[0]['data_samples'].gt_sem_seg.data
    assert [classes[row[0]] for row in read[:2]] == ['wall', 'sky']
    assert [row.unique().numel() for row in read[:2]] == [1, 1]
    assert (read[2:] == 255).all()
    labels[2] = 151
    Image.fromarray(labels).save(path)
    (problem,) = find_problems(cfg, ['train_dataloader'])
    assert problem.detail.startswith('151, expected 1 to 150 for the 150 classes')


def test_channels_are_named(tmp_path):
    with_alpha = np.stack([LABELS] * 4, -1)
    cfg = segment(tmp_path, {'a': with_alpha}, tuple('abcdefgh'))
    with pytest.raises(BadSampleError, match='map has 4 channels instead of one num'):
        train_set(cfg)[0]
