"""Tiny-ImageNet from the layout in which it is published."""

import shutil

import pytest
from helpers.published_data import write_tiny_imagenet

from mmrapidnet.datasets.convert import convert_tiny_imagenet
from mmrapidnet.utils.errors import UserError

WNIDS = ('n01', 'n02', 'n03', 'n04', 'n05')


@pytest.fixture
def src(tmp_path):
    return write_tiny_imagenet(tmp_path / 'tiny-imagenet-200', WNIDS)


def files_of(root):
    return {p.relative_to(root).as_posix() for p in root.rglob('*') if p.is_file()}


@pytest.mark.parametrize(('every', 'labels'), [(1, range(5)), (2, (0, 2, 4))])
def test_folders_of_classes(src, tmp_path, every, labels):
    out = tmp_path / 'out'
    assert convert_tiny_imagenet(src, out, every) == {
        'train': {
            'images': 2 * len(labels),
            'classes': len(labels),
            'images_per_class': [2, 2],
        },
        'val': {
            'images': len(labels),
            'classes': len(labels),
            'images_per_class': [1, 1],
        },
    }
    expected = {
        *(f'train/{WNIDS[n]}/{WNIDS[n]}_{i}.JPEG' for n in labels for i in range(2)),
        *(f'val/{WNIDS[n]}/val_{n}_0.JPEG' for n in labels),
    }
    assert files_of(out) == expected
    copied = (out / 'val' / 'n03' / 'val_2_0.JPEG').read_bytes()
    assert copied == (src / 'val' / 'images' / 'val_2_0.JPEG').read_bytes()


def assert_refused(src, out, message, **options):
    beside = sorted(out.parent.iterdir())
    with pytest.raises(UserError, match=message):
        convert_tiny_imagenet(src, out, **options)
    assert sorted(out.parent.iterdir()) == beside


def test_what_is_missing_or_wrong(src, tmp_path):
    out = tmp_path / 'out'
    assert_refused(tmp_path / 'no', out, r'there is no .*/no; expected .*: train, wnid')
    assert_refused(src, src, 'exists and holds something')
    assert_refused(src, out, 'every must be at least 1, .*: 0', every=0)
    (src / 'val' / 'images' / 'val_1_0.JPEG').unlink()
    assert_refused(src, out, r'line 2: there is no .*/val_1_0\.JPEG: get the images')
    listing = src / 'val' / 'val_annotations.txt'
    lines = listing.read_text().splitlines(keepends=True)
    listing.write_text(''.join([lines[0], *lines[2:]]))
    assert_refused(src, out, r'class n02 has no val image \(\*\.JPEG\), but wnids\.txt')
    shutil.rmtree(src / 'train' / 'n04')
    assert_refused(src, out, r'class n04 has no train image')
    listing.write_text(lines[0] + 'val_9.JPEG\tn09\t0\t0\t7\t7\n')
    assert_refused(
        src, out, r'line 2: unknown class n09 of val_9\.JPEG: .* of the 5 of'
    )
    listing.write_text('val_0_0.JPEG n01\n')
    assert_refused(src, out, r"line 1: 'val_0_0\.JPEG n01' instead of an image, its")
    listing.unlink()
    assert_refused(src, out, r'there is no .*/val/val_annotations\.txt; expected in')
    listing.touch()
    (src / 'wnids.txt').write_text('\n')
    assert_refused(src, out, r'wnids\.txt names no class: get the file anew')
