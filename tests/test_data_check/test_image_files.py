"""Each kind of image file: found, and read as mmcv reads it or a stop."""

import mmcv
import numpy as np
import pytest
from bad_data import (
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
from mmengine.registry import DATASETS, DefaultScope
from PIL import Image
from torch.utils.data import DataLoader

from mmrapidnet import compat
from mmrapidnet.data_check.bad_sample import BadSampleError
from mmrapidnet.data_check.find import check_sample, find_problems, sources_of
from mmrapidnet.data_check.sample import Sample
from mmrapidnet.data_check.source import Source
from mmrapidnet.engine.dataset_check import check_datasets
from mmrapidnet.errors import UserError

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


def source(backend):
    step = dict(type='LoadImageFromFile', imdecode_backend=backend)
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


@pytest.mark.parametrize(
    ('backend', 'fate'), [('cv2', 'read as 8 bits'), ('pillow', 'clipped at 255')]
)
def test_grey_of_sixteen_bits(backend, fate, tmp_path):
    """Pillow clips what OpenCV divides by 256; the check says which."""
    grey = picture()[..., 0]
    path = tmp_path / 'grey.png'
    path.write_bytes(sixteen_bits(grey))
    read = mmcv.imread(path, backend=backend)[..., 0].astype(int)
    assert (np.abs(read - grey).max() <= 1) == (backend == 'cv2')
    details = {
        p.kind: p.detail for p in check_sample(source(backend), Sample(str(path)))
    }
    assert details == {
        'grey image': 'read as three equal colours',
        'image of 16 bits': fate,
    }


@pytest.mark.parametrize('backend', ['cv2', 'pillow'])
@pytest.mark.parametrize('share', [0.1, 0.5, 0.98])
@pytest.mark.parametrize('kind', ['JPEG', 'PNG', 'BMP'])
def test_truncated(kind, share, backend, tmp_path):
    whole = encode(picture(), kind)
    path = tmp_path / 'image'
    path.write_bytes(whole)
    assert check_sample(source(backend), Sample(str(path))) == []
    path.write_bytes(whole[: int(len(whole) * share)])
    (problem,) = check_sample(source(backend), Sample(str(path)))
    assert (problem.kind, problem.stops) == ('image cannot be decoded', True)
    in_header = kind == 'JPEG' and share == 0.1
    assert problem.detail.startswith('it is no image' if in_header else kind)


def test_what_a_lenient_decoder_fills_in_is_told(tmp_path, monkeypatch):
    """Older OpenCV reads half a JPEG without a word, as Pillow does if it is told."""
    monkeypatch.setattr('PIL.ImageFile.LOAD_TRUNCATED_IMAGES', True)
    path = tmp_path / 'half.jpg'
    path.write_bytes(JPEG[: len(JPEG) // 2])
    (problem,) = check_sample(source('pillow'), Sample(str(path)))
    assert (problem.kind, problem.stops) == ('truncated image', False)


def test_sources_know_the_smallest_scale(tmp_path):
    cfg = plant(tmp_path, 'grey')
    train, val = sources_of(cfg, ['train_dataloader', 'val_dataloader'])
    assert train.smallest_scale == val.smallest_scale == (192, 192)
    assert (train.min_size, val.min_size) == (32, 0)
    step = dict(
        type='RandomResize', scale=(2048, 512), ratio_range=(0.5, 2.0), keep_ratio=True
    )
    random = Source(dict(type='CocoDataset', pipeline=[step]), 'mmdet', False)
    assert random.smallest_scale == (1024, 256)
