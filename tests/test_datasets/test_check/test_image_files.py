"""Each kind of image file: found, and read as mmcv reads it or a stop."""

import cv2
import mmcv
import numpy as np
import pytest
import torch
from helpers.bad_data import (
    FILE_KINDS,
    FILES,
    HEIGHT,
    JPEG,
    WIDTH,
    CocoSplit,
    encode,
    load,
    picture,
    sixteen_bits,
    turned,
)
from mmengine.registry import DATASETS, MODELS, DefaultScope
from PIL import Image
from torch.utils.data import DataLoader

from mmrapidnet import compat
from mmrapidnet.datasets.check.bad_sample import BadSampleError
from mmrapidnet.datasets.check.images import find_lost_depth
from mmrapidnet.datasets.check.precheck import check_datasets
from mmrapidnet.datasets.check.run import check_sample, find_problems
from mmrapidnet.datasets.check.source import Sample, Source, sources_of
from mmrapidnet.utils.errors import UserError

# What names and sizes of files do not tell, so that only reading does.
UNREADABLE = ('truncated', 'text')
HANDLED = [name for name, (_, stops) in FILE_KINDS.items() if not stops]
NEAR = 3  # mean difference of colours after compression


def plant(root, *names):
    """A training and a validation split, each with an image for each name."""
    for split in ('train', 'val'):
        coco = CocoSplit(root, split)
        for name in names:
            coco.file(name)
        coco.write()
    return load('detector', root)


def dataset_of(cfg, split='train'):
    with DefaultScope.overwrite_default_scope('mmdet'):
        return DATASETS.build(cfg[f'{split}_dataloader'].dataset)


def source(backend, **options):
    step = dict(type='LoadImageFromFile', imdecode_backend=backend, **options)
    config = dict(type='CocoDataset', ann_file='none.json', pipeline=[step])
    return Source(config, 'mmdet', evaluated=True)


def test_all_are_found_in_one_pass(tmp_path):
    cfg = plant(tmp_path, *FILES)
    found = {
        (p.file.rpartition('/')[2].removesuffix('.jpg'), p.kind, p.stops)
        for p in find_problems(cfg, ['train_dataloader'], workers=2)
    }
    expected = {(name, *FILE_KINDS[name]) for name in FILES}
    # A thin image is also a wide one.
    expected.add(('thin', *FILE_KINDS['wide']))
    # All objects are of the first class.
    expected.add(('instances_train2017.json', 'class without any object', False))
    assert found == expected


@pytest.mark.parametrize('name', ['zero_bytes', 'missing', 'thin'])
def test_a_run_stops_before_training(name, tmp_path):
    cfg = plant(tmp_path, 'grey', name)
    kind = FILE_KINDS[name][0]
    with pytest.raises(UserError, match=f'{kind}: .*check_dataset.py') as error:
        check_datasets(cfg, ['train_dataloader'])
    assert f'{name}.jpg' in str(error.value)
    assert 'instances_train2017.json: image 2' in str(error.value)


@pytest.mark.parametrize('workers', [0, 1])
@pytest.mark.parametrize('name', UNREADABLE)
def test_an_unreadable_image_is_named(name, workers, tmp_path):
    compat.apply()
    cfg = plant(tmp_path, name)
    with pytest.raises(UserError, match=f'{name}.jpg: .*: image cannot be decoded: '):
        check_datasets(cfg, ['train_dataloader'])
    loader = DataLoader(dataset_of(cfg), batch_size=1, num_workers=workers)
    with pytest.raises(BadSampleError) as error:
        next(iter(loader))
    path = tmp_path / 'train2017' / f'{name}.jpg'
    assert str(error.value).startswith(f'{path}, image 1 of {tmp_path}/annotations/')
    assert 'LoadImageFromFile fails with AssertionError' in str(error.value)
    assert '\n' not in str(error.value)


def test_a_size_that_the_annotations_have_otherwise(tmp_path):
    """Exif turns this image, but its record gives the size before that."""
    compat.apply()
    cfg = plant(tmp_path, 'grey')
    coco = CocoSplit(tmp_path, 'train')
    coco.annotation(coco.image('a', turned(), (HEIGHT, WIDTH)))
    coco.write()
    with pytest.raises(BadSampleError, match=r'a\.jpg, image 1 of .* read as 64x96 pi'):
        dataset_of(cfg)[0]
    kinds = {p.kind: p for p in find_problems(cfg, ['train_dataloader'])}
    assert kinds['image of another size than annotated'].stops
    assert not kinds['image with an Exif orientation'].stops


def test_how_the_pipeline_reads_them(tmp_path):
    compat.apply()
    cfg = plant(tmp_path, *HANDLED)
    check_datasets(cfg, ['train_dataloader', 'val_dataloader'])
    # In training, images under 32 pixels are left out.
    assert len(dataset_of(cfg)) == len(HANDLED) - 1
    read = {}
    for split in ('train', 'val'):
        dataset = dataset_of(cfg, split)
        for index in range(len(dataset)):
            name = dataset.get_data_info(index)['img_path'].rpartition('/')[2]
            read[split, name.removesuffix('.jpg')] = dataset[index]
    for name in HANDLED:
        assert read['val', name]['inputs'].shape[0] == 3
        height, width = FILES[name][1]
        factor = 192 / max(height, width)
        size = (round(height * factor), round(width * factor))
        assert read['val', name]['inputs'].shape[1:] == size
        if name != 'one_wide':
            sample = read['train', name]
            assert sample['inputs'].shape[1:] == size
            assert len(sample['data_samples'].gt_instances) == 1


@pytest.mark.parametrize('backend', ['cv2', 'pillow'])
def test_colours_and_orientation_as_read(backend):
    """What `color`, the default of both libraries, makes of unusual files."""

    def read(content):
        return mmcv.imfrombytes(content, backend=backend)[..., ::-1].astype(int)

    original = picture().astype(int)
    assert np.abs(read(FILES['cmyk'][0]) - original).mean() < NEAR
    assert np.abs(read(sixteen_bits(picture())) - original).max() <= 1
    grey = read(FILES['grey'][0])
    assert (
        np.abs(grey[..., 0] - np.array(Image.fromarray(picture()).convert('L'))).mean()
        < NEAR
    )
    assert (grey == grey[..., :1]).all()
    assert np.abs(read(turned()) - np.rot90(original, -1)).mean() < NEAR


@pytest.mark.parametrize('backend', ['cv2', 'pillow'])
def test_grey_of_sixteen_bits(backend, tmp_path):
    """Pillow clips what OpenCV divides by 256; the check says so, and stops."""
    grey = picture()[..., 0]
    path = tmp_path / 'grey.png'
    path.write_bytes(sixteen_bits(grey))
    read = mmcv.imread(path, backend=backend)[..., 0].astype(int)
    assert (np.abs(read - grey).max() <= 1) == (backend == 'cv2')
    problems, _ = check_sample(source(backend), Sample(str(path)))
    found = {p.kind: (p.detail.partition(';')[0], p.stops) for p in problems}
    if backend == 'cv2':
        assert found == {
            'grey image': ('read as three equal colours', False),
            'image of 16 bits': ('read as 8 bits', False),
        }
    else:
        low, high = (257 * int(value) for value in (grey.min(), grey.max()))
        values = f'its values {low} to {high} are read as'
        detail = f'{values} {read.min()} to 255'
        assert found == {'image that loses its depth': (detail, True)}


def twelve_bits(kind='.tif', channels=1):
    """A camera's: 1008 to 2288 in a file of 16 bits."""
    values = np.linspace(1008, 2288, HEIGHT * WIDTH).reshape(HEIGHT, WIDTH)
    image = np.stack([values.astype(np.uint16)] * channels, -1)
    return cv2.imencode(kind, image)[1].tobytes()


@pytest.mark.parametrize(
    ('kind', 'channels', 'read'),
    [('.tif', 1, '3 to 8'), ('.png', 1, '3 to 8'), ('.tif', 3, '4 to 9')],
)
def test_twelve_bits(kind, channels, read, tmp_path):
    path = tmp_path / f'image{kind}'
    path.write_bytes(twelve_bits(kind, channels))
    for backend in ('cv2', 'pillow')[: 2 if channels == 1 else 1]:
        fate = find_lost_depth(path, source(backend).loader)
        values = read if backend == 'cv2' else '255 to 255'
        assert fate.startswith(f'its values 1008 to 2288 are read as {values}; keep')
        (problem,) = check_sample(source(backend), Sample(str(path)))[0]
        assert (problem.kind, problem.stops) == ('image that loses its depth', True)
    whole = dict(color_type=3, to_float32=True)
    assert find_lost_depth(path, source('cv2', **whole).loader) is None


def test_twelve_bits_in_a_run(tmp_path):
    """It stops, but for a pipeline that keeps them: then all values arrive."""
    compat.apply()
    coco = CocoSplit(tmp_path, 'train')
    coco.annotation(coco.image('grey', twelve_bits()))
    coco.write()
    cfg = load('detector', tmp_path)
    with pytest.raises(
        UserError, match=r'grey.jpg: .*1008 to 2288 .*color_type=3, to_'
    ):
        check_datasets(cfg, ['train_dataloader'])
    pipeline = cfg.train_dataloader.dataset.pipeline
    pipeline[0].update(color_type=3, to_float32=True)
    check_datasets(cfg, ['train_dataloader'])
    for step in pipeline:
        if step.type == 'Resize':
            step.scale = (WIDTH, HEIGHT)
    sample = dataset_of(cfg)[0]
    inputs = sample['inputs']
    assert (inputs.dtype, inputs.shape) == (torch.float32, (3, HEIGHT, WIDTH))
    assert (inputs.min(), inputs.max()) == (1008, 2288)
    assert len(inputs.unique()) > 1200
    preprocessor = dict(cfg.model.data_preprocessor, mean=[1648] * 3, std=[640] * 3)
    with DefaultScope.overwrite_default_scope('mmdet'):
        built = MODELS.build(preprocessor)
    batch = built({'inputs': [inputs], 'data_samples': [sample['data_samples']]})
    assert batch['inputs'][..., :HEIGHT, :WIDTH].abs().max() == 1


@pytest.mark.parametrize('value', [0, 300, 40_000])
def test_sixteen_bits_of_one_value(value, tmp_path):
    """There is nothing to lose."""
    path = tmp_path / 'image.png'
    plain = np.full((HEIGHT, WIDTH), value, np.uint16)
    path.write_bytes(cv2.imencode('.png', plain)[1].tobytes())
    assert find_lost_depth(path, source('cv2').loader) is None


@pytest.mark.parametrize('backend', ['cv2', 'pillow'])
@pytest.mark.parametrize('share', [0.1, 0.5, 0.98])
@pytest.mark.parametrize('kind', ['JPEG', 'PNG', 'BMP'])
def test_truncated(kind, share, backend, tmp_path):
    whole = encode(picture(), kind)
    path = tmp_path / 'image'
    path.write_bytes(whole)
    assert check_sample(source(backend), Sample(str(path)))[0] == []
    path.write_bytes(whole[: int(len(whole) * share)])
    (problem,) = check_sample(source(backend), Sample(str(path)))[0]
    assert (problem.kind, problem.stops) == ('image cannot be decoded', True)
    in_header = kind == 'JPEG' and share == 0.1
    assert problem.detail.startswith('it is no image' if in_header else kind)


def test_what_a_lenient_decoder_fills_in_is_told(tmp_path, monkeypatch):
    """Older OpenCV reads half a JPEG without a word, as Pillow does if it is told."""
    monkeypatch.setattr('PIL.ImageFile.LOAD_TRUNCATED_IMAGES', True)
    path = tmp_path / 'half.jpg'
    path.write_bytes(JPEG[: len(JPEG) // 2])
    (problem,) = check_sample(source('pillow'), Sample(str(path)))[0]
    assert (problem.kind, problem.stops) == ('truncated image', False)


def test_sources_know_the_smallest_scale(tmp_path):
    cfg = plant(tmp_path, 'grey')
    train, val = sources_of(cfg, ['train_dataloader', 'val_dataloader'])
    assert train.smallest_scale == val.smallest_scale == (192, 192)
    assert (train.min_size, val.min_size) == (32, 0)
    step = dict(
        type='RandomResize', scale=(2048, 512), ratio_range=(0.5, 2.0), keep_ratio=True
    )
    assert smallest(step) == (1024, 256)


def smallest(*pipeline):
    config = dict(type='CocoDataset', pipeline=list(pipeline))
    return Source(config, 'mmdet', False).smallest_scale


@pytest.mark.parametrize(
    ('step', 'scale'),
    [
        (dict(type='Resize', scale=[(1333, 640), (1333, 800)]), (1333, 640)),
        (dict(type='RandomResize', scale=[(1333, 800), (1000, 640)]), (1000, 640)),
        (dict(type='RandomChoiceResize', scales=[(480, 1333), (512, 900)]), (900, 480)),
        (dict(type='RandomChoiceResize', scales=[320, 512]), (320, 320)),
        (dict(type='mmdet.Resize', scale=[1333, 800]), (1333, 800)),
        (dict(type=mmcv.transforms.Resize, scale=(800, 1333)), (1333, 800)),
        (dict(type='Resize', scale=64), (64, 64)),
        (dict(type='Resize', scale_factor=0.5), None),
        (dict(type='Resize', scale=(8, 8), keep_ratio=False), None),
        (dict(type='ResizeShortestEdge', scale=256, max_size=900), (900, 256)),
        (
            dict(
                type='RandomChoiceResize',
                scales=[512, 256],
                resize_type='ResizeShortestEdge',
                max_size=2048,
            ),
            (2048, 256),
        ),
    ],
)
def test_scales_as_pipelines_have_them(step, scale):
    step = dict(keep_ratio=True, **step) if 'keep_ratio' not in step else step
    assert smallest(dict(type='LoadImageFromFile'), step) == scale
    # Among others to choose from.
    flip = dict(type='RandomFlip', prob=0.5)
    choice = dict(type='RandomChoice', transforms=[[flip], [flip, step]])
    assert smallest(choice) == scale


def test_a_multi_scale_run(tmp_path):
    cfg = plant(tmp_path, 'grey')
    for step in cfg.train_dataloader.dataset.pipeline:
        if step.type == 'Resize':
            step.type, step.scale = 'RandomResize', [(192, 64), (192, 96)]
    check_datasets(cfg, ['train_dataloader'])
    kinds = {problem.kind for problem in find_problems(cfg, ['train_dataloader'])}
    assert kinds == {'class without any object', 'grey image'}


@pytest.mark.parametrize(
    ('kind', 'key'), [('detector', 'img'), ('segmenter', 'img_path')]
)
def test_a_prefix_that_is_a_text(kind, key, tmp_path):
    cfg = load(kind, tmp_path)
    cfg.train_dataloader.dataset.data_prefix = 'some'
    message = rf"takes a dict: data_prefix=dict\({key}='some'\)$"
    with pytest.raises(UserError, match=message):
        check_datasets(cfg, ['train_dataloader'])


def test_images_that_no_record_names(tmp_path):
    """They may be of another split that shares the folder."""
    cfg = plant(tmp_path, 'grey')
    folder = tmp_path / 'train2017'
    for name in ('x.JPG', 'y.png', 'notes.txt'):
        (folder / name).write_bytes(JPEG)
    notes = [p for p in find_problems(cfg, ['train_dataloader']) if 'record' in p.kind]
    assert [(p.file, p.stops) for p in notes] == [(str(folder), False)]
    assert notes[0].detail == '2 images are in no record, such as x.JPG'
    other = CocoSplit(tmp_path, 'val')
    for name in ('x.JPG', 'y.png'):
        other.image('x', None, file_name=name)
    other.write()
    cfg.val_dataloader.dataset.data_prefix.img = 'train2017/'
    found = find_problems(cfg, ['train_dataloader', 'val_dataloader'])
    assert not any('record' in p.kind for p in found)
