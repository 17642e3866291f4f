"""The Shapes data set on disk: both layouts, its figures, what it refuses."""

import json
import os
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from helpers.commands import call_tool
from pycocotools.coco import COCO

from mmrapidnet.datasets.shapes import (
    CLASSES,
    PALETTE,
    SEG_CLASSES,
    SEG_PALETTE,
    shapes,
    write_shapes,
)
from mmrapidnet.utils.errors import UserError

FIGURES = (
    'images',
    'empty images',
    'crowds',
    'objects',
    'objects per image',
    'occluded share',
    'area quartiles',
)
SMALL = {'splits': {'train': 3, 'val': 2}, 'image_size': 64}


@pytest.fixture(scope='module')
def held_out(tmp_path_factory):
    """The default held-out split: its root and statistics."""
    root = tmp_path_factory.mktemp('shapes') / 'val'
    return root, write_shapes(root, {'val': 150})['val']


@pytest.fixture(scope='module')
def coco(held_out):
    return COCO(held_out[0] / 'coco/annotations/instances_val2017.json')


def _files(root: Path) -> dict[str, bytes]:
    """Contents by path, without the images: those depend on the JPEG encoder."""
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(root.rglob('*'))
        if path.is_file() and path.suffix != '.jpg'
    }


def _label_map(root: Path, image_id: int) -> np.ndarray:
    path = root / f'ade/annotations/validation/{image_id:012d}.png'
    return cv2.imread(str(path), cv2.IMREAD_UNCHANGED)


def test_held_out_split_is_not_easy(held_out):
    _, statistics = held_out
    assert statistics['images'] >= 100
    assert statistics['objects_per_image'] >= 4
    assert statistics['occluded_share'] >= 0.3
    assert statistics['empty_images'] > 0
    assert statistics['crowds'] > 0


def test_statistics_follow_from_the_annotations(held_out, coco):
    _, statistics = held_out
    objects = [ann for ann in coco.anns.values() if not ann['iscrowd']]
    filled = {ann['image_id'] for ann in coco.anns.values()}
    occluded = np.mean([ann['occlusion'] >= 0.1 for ann in objects])
    quartiles = np.quantile([ann['area'] for ann in objects], [0.25, 0.5, 0.75])
    assert statistics['objects'] == len(objects)
    assert statistics['crowds'] == len(coco.anns) - len(objects)
    assert statistics['empty_images'] == 150 - len(filled)
    assert statistics['objects_per_image'] == round(len(objects) / len(filled), 2)
    assert statistics['occluded_share'] == pytest.approx(occluded, abs=5e-4)
    assert statistics['area_quartiles'] == quartiles.round().tolist()


def test_coco_agrees_with_its_masks(coco):
    assert [c['name'] for c in coco.loadCats(coco.getCatIds())] == list(CLASSES)
    assert coco.getCatIds() == [1, 2, 3, 4, 5, 6]
    for ann in coco.anns.values():
        mask = coco.annToMask(ann)
        rows, cols = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        box = [cols[0], rows[0], np.ptp(cols) + 1, np.ptp(rows) + 1]
        assert mask.shape == (192, 192)
        assert ann['area'] == mask.sum() >= 30
        assert ann['bbox'] == box


def test_layouts_agree(held_out, coco):
    root, _ = held_out
    for image_id, image in coco.imgs.items():
        expected = np.ones((192, 192), np.uint8)
        owner = np.zeros((192, 192), int)
        for ann in coco.imgToAnns[image_id]:
            mask = coco.annToMask(ann).astype(bool)
            assert not owner[mask].any(), 'masks overlap'
            owner[mask] = ann['id']
            expected[mask] = ann['category_id'] + 1
        for axis in (0, 1):
            edge = np.diff(owner, axis=axis) != 0
            pad = [(0, 0), (0, 0)]
            for pad[axis] in ((0, 1), (1, 0)):
                expected[np.pad(edge, pad)] = 0
        np.testing.assert_array_equal(_label_map(root, image_id), expected)
        name = image['file_name']
        as_coco = (root / 'coco/val2017' / name).read_bytes()
        assert as_coco == (root / 'ade/images/validation' / name).read_bytes()


def test_images_are_colour_of_the_stated_size(held_out):
    path = held_out[0] / 'coco/val2017/000000000001.jpg'
    assert cv2.imread(str(path), cv2.IMREAD_UNCHANGED).shape == (192, 192, 3)


def test_mmdet_loads_it(held_out):
    from mmdet.datasets import CocoDataset
    from mmdet.utils import register_all_modules

    register_all_modules(init_default_scope=True)
    dataset = CocoDataset(
        ann_file='coco/annotations/instances_val2017.json',
        data_prefix={'img': 'coco/val2017/'},
        data_root=str(held_out[0]),
        metainfo={'classes': CLASSES, 'palette': list(PALETTE)},
        test_mode=True,
        pipeline=[
            {'type': 'LoadImageFromFile'},
            {'type': 'LoadAnnotations', 'with_bbox': True, 'with_mask': True},
        ],
    )
    assert len(dataset) == 150
    crowds = 0
    for index in range(0, 150, 5):
        sample = dataset[index]
        masks = sample['gt_masks'].masks
        boxes = sample['gt_bboxes'].tensor.numpy()
        assert len(masks) == len(boxes) == len(sample['instances'])
        for mask, box in zip(masks, boxes, strict=True):
            left, top, right, bottom = box.astype(int)
            assert mask[top:bottom, left:right].sum() == mask.sum() > 0
        crowds += int(sample['gt_ignore_flags'].sum())
    assert crowds > 0


def test_mmseg_loads_it(held_out):
    from mmseg.datasets import BaseSegDataset
    from mmseg.utils import register_all_modules

    register_all_modules(init_default_scope=True)
    root = held_out[0]
    dataset = BaseSegDataset(
        data_root=str(root),
        data_prefix={
            'img_path': 'ade/images/validation',
            'seg_map_path': 'ade/annotations/validation',
        },
        metainfo={'classes': SEG_CLASSES, 'palette': list(SEG_PALETTE)},
        reduce_zero_label=True,
        pipeline=[{'type': 'LoadImageFromFile'}, {'type': 'LoadAnnotations'}],
    )
    assert len(dataset) == 150
    raw = _label_map(root, 1)
    loaded = dataset[0]['gt_seg_map']
    np.testing.assert_array_equal(loaded, np.where(raw == 0, 255, raw - 1))


def test_same_seed_same_bytes(tmp_path):
    for name, seed in (('a', 0), ('b', 0), ('c', 1)):
        write_shapes(tmp_path / name, **SMALL, seed=seed)
    first, again, other = (_files(tmp_path / name) for name in 'abc')
    assert first == again
    assert len(first) == 8  # a label map an image, two JSON files, the marker
    assert first.keys() == other.keys()
    assert all(first[name] != other[name] for name in first)


def test_image_depends_on_its_index_alone(tmp_path):
    write_shapes(tmp_path / 'few', {'train': 3}, image_size=64)
    write_shapes(tmp_path / 'more', {'val': 1, 'train': 5}, image_size=64)
    few, more = (
        json.loads(
            (tmp_path / name / 'coco/annotations/instances_train2017.json').read_text()
        )
        for name in ('few', 'more')
    )
    count = len(few['annotations'])
    assert few['annotations'] == more['annotations'][:count]
    for folder in ('coco/train2017', 'ade/annotations/training'):
        for path in (tmp_path / 'few' / folder).iterdir():
            twin = tmp_path / 'more' / folder / path.name
            assert path.read_bytes() == twin.read_bytes()


def test_splits_differ(tmp_path):
    write_shapes(tmp_path / 'set', {'train': 2, 'val': 2}, image_size=64)
    train, val = (
        (tmp_path / 'set/coco' / f'{split}2017/000000000001.jpg').read_bytes()
        for split in ('train', 'val')
    )
    assert train != val


def test_images_are_shared_or_else_copied(tmp_path, monkeypatch):
    def no_links(source, target):
        raise OSError('links are not supported')

    write_shapes(tmp_path / 'linked', **SMALL)
    monkeypatch.setattr(os, 'link', no_links)
    write_shapes(tmp_path / 'copied', **SMALL)
    for name, links in (('linked', 2), ('copied', 1)):
        one, two = (
            tmp_path / name / folder / '000000000002.jpg'
            for folder in ('coco/train2017', 'ade/images/training')
        )
        assert one.read_bytes() == two.read_bytes()
        assert one.stat().st_nlink == links


def test_complete_set_is_kept(tmp_path):
    root = tmp_path / 'set'
    statistics = write_shapes(root, **SMALL)
    before = root.stat().st_ino
    assert write_shapes(str(root), **SMALL, overwrite=True) == statistics
    assert root.stat().st_ino == before


def test_interrupted_set_leaves_nothing(tmp_path, monkeypatch):
    def interrupt(scene):
        raise KeyboardInterrupt

    monkeypatch.setattr(shapes, 'ade_label_map', interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_shapes(tmp_path / 'set', **SMALL)
    assert not list(tmp_path.iterdir())


def test_other_parameters_need_overwrite(tmp_path):
    root = tmp_path / 'set'
    write_shapes(root, **SMALL)
    before = _files(root)
    with pytest.raises(
        UserError, match=r"made with .*'seed': 0.*, or ask to overwrite"
    ):
        write_shapes(root, **SMALL, seed=1)
    assert _files(root) == before
    write_shapes(root, **SMALL, seed=1, overwrite=True)
    write_shapes(tmp_path / 'fresh', **SMALL, seed=1)
    assert _files(root) == _files(tmp_path / 'fresh')


def test_files_of_others_are_never_deleted(tmp_path):
    root = tmp_path / 'set'
    write_shapes(root, **SMALL)
    (root / 'notes.txt').write_text('mine')
    with pytest.raises(UserError, match=r"also holds \['notes.txt'\]: move them away"):
        write_shapes(root, **SMALL, seed=1, overwrite=True)
    assert (root / 'notes.txt').read_text() == 'mine'


@pytest.mark.parametrize('name', ['photo.jpg', 'shapes.json'])
def test_foreign_folder_is_refused(tmp_path, name):
    (tmp_path / name).write_text('[]')
    with pytest.raises(UserError, match='exists and is not a Shapes data set'):
        write_shapes(tmp_path, **SMALL, overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_empty_folder_is_used(tmp_path):
    (tmp_path / 'set').mkdir()
    write_shapes(tmp_path / 'set', **SMALL)
    assert (tmp_path / 'set/shapes.json').exists()


def test_unwritable_place_is_named(tmp_path):
    (tmp_path / 'file').write_text('')
    with pytest.raises(UserError, match=r'cannot write Shapes to .*/file/set: '):
        write_shapes(tmp_path / 'file' / 'set', **SMALL)
    with pytest.raises(UserError, match='file exists and is not a Shapes data set'):
        write_shapes(tmp_path / 'file', **SMALL)


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        ({'splits': {}}, r"splits must name 'train', 'val' or both, got \[\]"),
        ({'splits': {'test': 3}}, r"or both, got \['test'\]"),
        ({'splits': {'val': 0}}, 'val must have at least 1 image, got 0'),
        ({'image_size': 63}, 'image_size must be from 64 to 4096, got 63'),
        ({'image_size': 10**8}, 'image_size must be from 64 to 4096, got 100000000'),
        ({'seed': -1}, 'seed must not be negative, got -1'),
    ],
)
def test_parameters_out_of_range(tmp_path, arguments, message):
    with pytest.raises(UserError, match=message):
        write_shapes(tmp_path / 'set', **arguments)
    assert not list(tmp_path.iterdir())


def test_command_line_writes_and_prints_the_figures(tmp_path):
    root = tmp_path / 'set'
    options = ('--train', 6, '--val', 4, '--size', 64, '--seed', 3)
    done = call_tool('make_shapes.py', root, *options)
    assert done.returncode == 0, done.stderr
    marker = json.loads((root / 'shapes.json').read_text())
    assert marker['parameters'] == {
        'format_version': 1,
        'seed': 3,
        'image_size': 64,
        'splits': {'train': 6, 'val': 4},
    }
    figures = [split.values() for split in marker['statistics'].values()]
    expected = [f'{train} {val}' for train, val in zip(*figures, strict=True)]
    printed = [' '.join(re.split('[ │]+', row)) for row in done.stdout.splitlines()]
    rows = [row for row in printed if row.strip().startswith(FIGURES)]
    assert len(rows) == len(expected) == len(FIGURES)
    for row, figure, values in zip(rows, FIGURES, expected, strict=True):
        assert row.strip() == f'{figure} {values}'


def test_command_line_refuses_in_one_line(tmp_path):
    (tmp_path / 'photo.jpg').write_text('mine')
    done = call_tool('make_shapes.py', tmp_path, '--overwrite')
    assert done.returncode == 1
    assert done.stderr.startswith(f'error: {tmp_path} exists and is not a Shapes')
    assert done.stderr.count('\n') == 1
