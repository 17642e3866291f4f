"""Nuclei from the layout of the 2018 Data Science Bowl."""

import json
import shutil

import numpy as np
import pytest
from helpers.published_data import (
    NUCLEI_SIZE,
    write_image,
    write_nuclei,
    write_nucleus_image,
)
from PIL import Image
from pycocotools import mask as mask_utils
from pycocotools.coco import COCO

from mmrapidnet.datasets.convert import convert_nuclei
from mmrapidnet.utils.errors import UserError

PINK, LIGHT = (60, 10, 60), (220, 220, 220)


@pytest.fixture
def src(tmp_path):
    return write_nuclei(tmp_path / 'stage1_train')


def read_split(out, split):
    content = json.loads((out / 'annotations' / f'{split}.json').read_text())
    names = [image['file_name'] for image in content['images']]
    assert sorted(p.name for p in (out / split).iterdir()) == names
    return content, [name.removesuffix('.png') for name in names]


def test_images_and_objects(src, tmp_path):
    out = tmp_path / 'nuclei'
    figures = {'nuclei_per_image': [2, 2.0, 2], 'overlapping_pixels': 0}
    assert convert_nuclei(src, out) == {
        'train': {'images': 4, 'nuclei': 8, **figures, 'empty_masks': 0},
        'val': {'images': 1, 'nuclei': 2, **figures, 'empty_masks': 0},
    }
    content, names = read_split(out, 'train')
    assert names == ['00', '01', '02', '03']
    assert content['categories'] == [{'id': 1, 'name': 'nucleus'}]
    assert content['images'][1] == {
        'id': 2,
        'file_name': '01.png',
        'width': NUCLEI_SIZE,
        'height': NUCLEI_SIZE,
    }
    record = dict(content['annotations'][3])
    mask = mask_utils.decode(record.pop('segmentation'))
    expected = np.zeros((NUCLEI_SIZE, NUCLEI_SIZE), np.uint8)
    expected[20:28, 20:28] = 1
    assert np.array_equal(mask, expected)
    assert record == {
        'id': 4,
        'image_id': 2,
        'category_id': 1,
        'iscrowd': 0,
        'area': 64,
        'bbox': [20.0, 20.0, 8.0, 8.0],
    }
    with (
        Image.open(out / 'val' / '04.png') as image,
        Image.open(src / '04' / 'images' / '04.png') as published,
    ):
        assert (image.mode, published.mode) == ('RGB', 'RGBA')
        assert np.array_equal(image, np.asarray(published)[..., :3])
    assert len(COCO(str(out / 'annotations' / 'val.json')).anns) == 2


def test_masks_that_overlap_or_are_empty(src, tmp_path):
    mask = np.zeros((NUCLEI_SIZE, NUCLEI_SIZE), np.uint8)
    write_image(src / '00' / 'masks' / 'empty.png', mask)
    # Shares a row of 8 pixels with the first square.
    mask[11:15, 4:12] = 128
    mask[15, 4:12] = 127
    write_image(src / '00' / 'masks' / 'overlapping.png', mask)
    statistics = convert_nuclei(src, tmp_path / 'nuclei')['train']
    assert statistics['nuclei_per_image'] == [2, 2.0, 3]
    assert (statistics['overlapping_pixels'], statistics['empty_masks']) == (8, 1)
    content, _ = read_split(tmp_path / 'nuclei', 'train')
    assert [a['area'] for a in content['annotations'][:3]] == [64, 64, 32]


@pytest.fixture
def mixed(tmp_path):
    """Of each kind or size five images, one after the other."""
    root = tmp_path / 'mixed'
    for number in range(5):
        write_nucleus_image(root, f'{number}_dark')
        write_nucleus_image(root, f'{number}_large', size=64)
        write_nucleus_image(root, f'{number}_light', LIGHT)
        write_nucleus_image(root, f'{number}_pink', PINK)
    return root


@pytest.mark.parametrize(
    ('options', 'kept', 'held_out'),
    [
        ({}, ('dark', 'large'), ('4_dark', '4_large')),
        ({'max_size': 48}, ('dark',), ('4_dark',)),
        (
            {'all_kinds': True},
            ('dark', 'large', 'light', 'pink'),
            # Light and pink of one size are counted together.
            ('2_light', '4_dark', '4_large', '4_pink'),
        ),
    ],
)
def test_kinds_sizes_and_split(mixed, tmp_path, options, kept, held_out):
    convert_nuclei(mixed, tmp_path / 'out', **options)
    (_, train), (_, val) = (read_split(tmp_path / 'out', s) for s in ('train', 'val'))
    assert val == [*held_out]
    assert sorted(train + val) == [f'{n}_{kind}' for n in range(5) for kind in kept]


def test_the_first_of_each_split(mixed, tmp_path):
    statistics = convert_nuclei(mixed, tmp_path / 'out', first=(3, 1))
    assert [split['images'] for split in statistics.values()] == [3, 1]
    assert read_split(tmp_path / 'out', 'train')[1] == ['0_dark', '0_large', '1_dark']
    assert read_split(tmp_path / 'out', 'val')[1] == ['4_dark']


def assert_refused(src, out, message, **options):
    beside = sorted(out.parent.iterdir())
    with pytest.raises(UserError, match=message):
        convert_nuclei(src, out, **options)
    assert sorted(out.parent.iterdir()) == beside


def test_what_is_missing_or_wrong(src, tmp_path):
    out = tmp_path / 'out'
    assert_refused(tmp_path / 'no', out, 'there is no .*/no: give the folder of the da')
    assert_refused(src, src, 'exists and holds something')
    few = 'would be trained on and .* held out, which is every 5th of its size'
    assert_refused(src, out, f'4 images .* {few}', first=(9, -1))
    assert_refused(src, out, f'0 images .* {few}', max_size=47)
    path = src / '02' / 'masks' / '02_0.png'
    write_image(path, np.zeros((9, 7), np.uint8))
    assert_refused(src, out, r'02_0\.png is of 9x7 .*, its image of 48x48: both must')
    path.write_bytes(b'')
    assert_refused(src, out, r'02_0\.png cannot be read as an image')
    shutil.rmtree(path.parent)
    assert_refused(src, out, r'02/masks holds no mask .*: give stage1_train, whose')
    shutil.rmtree(src / '02' / 'images')
    assert_refused(src, out, r'there is no .*/02/images/02\.png: give the folder sta')
    shutil.rmtree(src / '02')
    assert_refused(src, out, f'4 images .* {few}')
