"""Each defect of label maps: found in one pass, named where a run meets it."""

import re

import cv2
import numpy as np
import pytest
from helpers.bad_data import (
    FILE_KINDS,
    FILES,
    HEIGHT,
    JPEG,
    WIDTH,
    encode,
    load,
    picture,
)
from mmengine.registry import DATASETS, DefaultScope
from PIL import Image

from mmrapidnet import compat
from mmrapidnet.datasets.check import precheck
from mmrapidnet.datasets.check.bad_sample import BadSampleError
from mmrapidnet.datasets.check.precheck import check_datasets
from mmrapidnet.datasets.check.run import find_problems
from mmrapidnet.utils.errors import UserError

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


def segment(root, maps, classes=('background', 'crack'), split='train'):
    """The config of a segmenter of own classes, with label maps by name."""
    folder = 'training' if split == 'train' else 'validation'
    images, labels = (root / part / folder for part in ('images', 'annotations'))
    images.mkdir(parents=True, exist_ok=True)
    labels.mkdir(parents=True, exist_ok=True)
    for name, content in maps.items():
        (images / f'{name}.jpg').write_bytes(JPEG)
        (labels / f'{name}.png').write_bytes(png(content))
    cfg = load('segmenter', root)
    cfg.model.decode_head.num_classes = len(classes)
    for name in ('train', 'val', 'test'):
        dataset = cfg[f'{name}_dataloader'].dataset
        dataset.reduce_zero_label = False
        dataset.metainfo = dict(classes=classes)
        for step in dataset.pipeline:
            step.pop('reduce_zero_label', None)
    return cfg


def mask(value):
    """Nothing on the left, a value on the right."""
    labels = np.zeros((HEIGHT, WIDTH), np.uint8)
    labels[:, WIDTH // 2 :] = value
    return labels


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


def test_channels_are_named(tmp_path):
    with_alpha = np.stack([LABELS] * 4, -1)
    cfg = segment(tmp_path, {'a': with_alpha}, tuple('abcdefgh'))
    with pytest.raises(BadSampleError, match='map has 4 channels instead of one num'):
        train_set(cfg)[0]


def test_what_suffixes_leave_out(tmp_path, monkeypatch):
    maps = {name: mask(1) for name in 'abcdefgh'}
    cfg = segment(tmp_path, maps)
    images, labels = (tmp_path / p / 'training' for p in ('images', 'annotations'))
    for name in 'abcde':
        (images / f'{name}.jpg').rename(images / f'{name}.JPG')
    (labels / 'more').mkdir()
    (labels / 'more' / 'x.png').write_bytes(png(mask(1)))
    (labels / 'notes.txt').write_text('')
    (labels / 'h.PNG').write_bytes(png(mask(1)))
    found = {
        (p.kind, p.file.removeprefix(f'{tmp_path}/'), p.stops)
        for p in find_problems(cfg, ['train_dataloader'])
    }
    kind = 'label map without an image'
    assert found == {
        *(('image left out', f'images/training/{n}.JPG', False) for n in 'abcde'),
        *((kind, f'annotations/training/{n}.png', False) for n in 'abcde'),
        (kind, 'annotations/training/more/x.png', False),
        ('label map left out', 'annotations/training/h.PNG', False),
    }
    said = []
    monkeypatch.setattr(precheck, 'print_log', lambda line, **_: said.append(line))
    check_datasets(cfg, ['train_dataloader'])
    assert f'{images}/a.JPG: image left out: left out, as it does not' in said[0]
    assert 'img_suffix) (and 4 more alike); ' in said[0]
    assert [line.split(': ')[1] for line in said] == [
        'image left out',
        'label map left out',
        'label map without an image',
    ]
    for name in 'fgh':
        (images / f'{name}.jpg').rename(images / f'{name}.png')
    message = (
        r"no image left: no file ends in '.jpg' \(img_suffix\), as \S+a.JPG does n"
    )
    with pytest.raises(UserError, match=message):
        check_datasets(cfg, ['train_dataloader'])


def test_images_and_label_maps_in_one_folder(tmp_path):
    for name in 'ab':
        (tmp_path / f'{name}.jpg').write_bytes(JPEG)
        (tmp_path / f'{name}_mask.png').write_bytes(png(mask(1)))
    (tmp_path / 'c.png').write_bytes(encode(picture(), 'PNG'))
    cfg = segment(tmp_path / 'unused', {})
    cfg.train_dataloader.dataset.update(
        data_root=str(tmp_path),
        data_prefix=dict(img_path='', seg_map_path=''),
        seg_map_suffix='_mask.png',
    )
    found = find_problems(cfg, ['train_dataloader'])
    assert [(p.kind, p.file) for p in found] == [
        ('image left out', str(tmp_path / 'c.png'))
    ]


def test_a_list_says_which_images_are_meant(tmp_path):
    cfg = segment(tmp_path, {'a': mask(1), 'b': mask(1)})
    (tmp_path / 'train.txt').write_text('a\n')
    cfg.train_dataloader.dataset.ann_file = 'train.txt'
    assert find_problems(cfg, ['train_dataloader']) == []


@pytest.mark.parametrize('kind', ['images', 'classes'])
def test_a_list_with_a_byte_order_mark(kind, tmp_path):
    cfg = segment(tmp_path, {'a': mask(1)})
    path = tmp_path / 'list.txt'
    dataset = cfg.train_dataloader.dataset
    if kind == 'images':
        dataset.ann_file = path.name
    else:
        dataset.metainfo = dict(classes=str(path))
    content = 'a' if kind == 'images' else 'background\ncrack'
    path.write_text(content, encoding='utf-8-sig')
    with pytest.raises(UserError, match=f'^{path} begins with a byte-order mark'):
        check_datasets(cfg, ['train_dataloader'])
    path.write_text(content)
    check_datasets(cfg, ['train_dataloader'])


def test_files_that_a_step_of_its_own_reads(tmp_path):
    """What they hold is between the two."""
    cfg = segment(tmp_path, {'a': np.stack([LABELS] * 3, -1)})
    (tmp_path / 'images' / 'training' / 'a.jpg').write_bytes(b'of its own')
    pipeline = cfg.train_dataloader.dataset.pipeline
    with pytest.raises(UserError, match=r'a.jpg: image cannot be decoded'):
        check_datasets(cfg, ['train_dataloader'])
    pipeline[0].type = 'OwnLoadImageFromFile'
    with pytest.raises(UserError, match=r'a.png: .*: label map of several channels'):
        check_datasets(cfg, ['train_dataloader'])
    pipeline[1].type = 'OwnLoadAnnotations'
    check_datasets(cfg, ['train_dataloader'])
