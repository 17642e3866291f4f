"""Shapes to classify: what it shows, what its background gives away, how it lies."""

import json
import re
from collections import Counter

import cv2
import numpy as np
import pytest
from helpers.commands import assert_one_line_error, call_tool

from mmrapidnet.datasets.shapes import (
    CLS_CLASSES,
    classification_scene,
    draw_single,
    outlines,
    write_shapes,
    write_shapes_cls,
)
from mmrapidnet.datasets.shapes.shapes_cls import choose
from mmrapidnet.utils.errors import UserError

CORNER = 6
SMALL = {'splits': {'train': 26, 'val': 12}, 'image_size': 64}


def rng_of(*seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.fixture(scope='module')
def drawn():
    """Labels and images of either split."""
    splits = {}
    for number, (split, count) in enumerate((('train', 960), ('val', 288))):
        labels, images = [], []
        for index in range(count):
            rng = rng_of(number, index)
            label, look = choose(split, index, rng)
            labels.append(label)
            images.append(draw_single(label, look, 64, rng))
        splits[split] = np.array(labels), np.stack(images).astype(np.float32)
    return splits


def files(root) -> dict[str, bytes]:
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(root.rglob('*'))
        if path.is_file()
    }


def test_classes_are_in_the_order_of_their_folders():
    assert len(CLS_CLASSES) == 12 == len(set(CLS_CLASSES))
    assert list(CLS_CLASSES) == sorted(CLS_CLASSES)


def test_object_is_inside_and_has_its_texture(monkeypatch):
    """Painted white on a black background, the object is what is there."""
    kinds, radii = [], []

    def make_outline(outline, centre, radius, size, rng):
        assert radius <= centre.min() and centre.max() <= size - radius
        radii.append(radius)
        return outlines.make_outline(outline, centre, radius, size, rng)

    def paint_flat(kind, window, angle, period, first, second, rng):
        kinds.append(kind)
        shape = [axis.stop - axis.start for axis in window]
        return np.full((*shape, 3), 0.0 if len(kinds) == 1 else 255.0, np.float32)

    monkeypatch.setattr(classification_scene, 'textured', paint_flat)
    monkeypatch.setattr(classification_scene, 'make_outline', make_outline)
    areas = Counter()
    for index in range(240):
        kinds.clear()
        label = index % 12
        image = draw_single(label, 5, 64, rng_of(index))[..., 0]
        seen = image > 127
        outline, texture = CLS_CLASSES[label].split('_')
        # Look 5 has the sixth texture.
        assert kinds == ['waves', texture]
        areas[outline] += seen.sum() / 40
    assert 20 <= min(radii) < 21 and 29 < max(radii) <= 30
    # Discs cover pi r^2 of r between 20 and 30 on average, less 10 % for stretching.
    mean_square = (30**3 - 20**3) / 3 / 10
    assert areas['disc'] == pytest.approx(0.9 * np.pi * mean_square, rel=0.1)
    assert areas['ring'] / areas['disc'] == pytest.approx(0.75, rel=0.15)


def test_objects_scale_with_the_image():
    small, large = (
        draw_single(3, 3, size, rng_of(0)).astype(float) for size in (64, 128)
    )
    shrunk = cv2.resize(large, (64, 64), interpolation=cv2.INTER_AREA)
    assert np.abs(shrunk - small).mean() < 12
    assert np.abs(small.mean((0, 1)) - small).mean() > 24


def test_looks_are_told_by_their_hues(monkeypatch):
    colours = []
    monkeypatch.setattr(
        classification_scene,
        'textured',
        lambda kind, window, angle, period, first, second, rng: (
            colours.append((first, second)) or np.zeros((64, 64, 3), np.float32)
        ),
    )
    for look in range(12):
        for index in range(30):
            classification_scene._background(look, 64, rng_of(index))
            for hue, saturation, value in colours.pop():
                assert round(hue * 12) % 12 == look
                assert 0.2 <= saturation <= 0.4 and 0.15 <= value <= 0.95


def test_training_backgrounds_are_half_their_class_s_own():
    pairs = [choose('train', index, rng_of(index)) for index in range(12_000)]
    labels, looks = map(np.array, zip(*pairs))
    assert (labels == np.arange(12_000) % 12).all()
    # One half, and one of twelve of the other.
    share = 0.5 + 0.5 / 12
    for label in range(12):
        found = np.bincount(looks[labels == label], minlength=12) / 1000
        expected = np.full(12, 0.5 / 12)
        expected[label] = share
        # Five standard deviations of a share of 1000.
        deviation = np.sqrt(expected * (1 - expected) / 1000)
        assert (np.abs(found - expected) <= 5 * deviation).all()


def test_held_out_backgrounds_are_the_same_for_every_class():
    pairs = Counter(choose('val', index, rng_of(0)) for index in range(720))
    assert len(pairs) == 144
    assert set(pairs.values()) == {5}


def hue_of(images: np.ndarray) -> np.ndarray:
    """The direction of the colour in the corners, where hardly an object is."""
    corners = [
        images[:, rows, cols].mean((1, 2))
        for rows in (slice(0, CORNER), slice(-CORNER, None))
        for cols in (slice(0, CORNER), slice(-CORNER, None))
    ]
    red, green, blue = np.median(corners, axis=0).T
    angle = np.arctan2(np.sqrt(3) * (green - blue), 2 * red - green - blue)
    return angle / (2 * np.pi) % 1


def test_what_the_background_alone_tells(drawn):
    """Whoever looks at its hue alone is half right in training and then lost."""
    right = {}
    for split, (labels, images) in drawn.items():
        guesses = np.round(hue_of(images) * 12) % 12
        right[split] = np.mean(guesses == labels)
    assert right['train'] > 0.45
    # Three standard deviations of 288 guesses.
    deviation = np.sqrt(1 / 12 * 11 / 12 / 288)
    assert abs(right['val'] - 1 / 12) < 3 * deviation


def test_colours_tell_nothing_of_held_out_images(drawn):
    """Mean and deviation of the pixels do not differ between the classes."""
    labels, images = drawn['val']
    for corner in (images[:, :CORNER, :CORNER], images[:, -CORNER:, -CORNER:]):
        figures = np.concatenate([corner.mean((1, 2)), corner.std((1, 2))], axis=1)
        means = np.stack([figures[labels == label].mean(0) for label in range(12)])
        within = np.stack([figures[labels == label].var(0) for label in range(12)])
        # F of an analysis of variance, 24 images per class: 1 on average, and above 3
        # once in a thousand.
        ratio = 24 * means.var(0, ddof=1) / within.mean(0)
        assert (ratio < 3).all()


def test_layout(tmp_path):
    root = tmp_path / 'set'
    statistics = write_shapes_cls(root, **SMALL)
    for split, count in SMALL['splits'].items():
        folders = sorted(path.name for path in (root / split).iterdir())
        assert folders == list(CLS_CLASSES)
        found = [len(list((root / split / name).iterdir())) for name in folders]
        assert found == [count // 12 + (i < count % 12) for i in range(12)]
    own = statistics['train'].pop('own_background_share')
    assert statistics == {
        'train': {'images': 26, 'classes': 12, 'images_per_class': [2, 3]},
        'val': {
            'images': 12,
            'classes': 12,
            'images_per_class': [1, 1],
            # The first twelve held-out images all have the first look.
            'own_background_share': 0.083,
        },
    }
    rngs = (np.random.default_rng([0, 2, index]) for index in range(26))
    pairs = [choose('train', index, rng) for index, rng in enumerate(rngs)]
    assert own == round(np.mean([label == look for label, look in pairs]), 3)
    image = cv2.imread(str(root / 'train/cross_stripes/000002.png'))
    rng = np.random.default_rng([0, 2, 1])
    expected = draw_single(*choose('train', 1, rng), 64, rng)
    np.testing.assert_array_equal(image[..., ::-1], expected)


def test_mmpretrain_loads_it(tmp_path):
    from mmpretrain.datasets import CustomDataset, ImageNet

    root = str(tmp_path / 'set')
    write_shapes_cls(root, **SMALL)
    pipeline = [{'type': 'LoadImageFromFile'}]
    for split, count in SMALL['splits'].items():
        common = dict(data_root=root, pipeline=pipeline)
        named = ImageNet(split=split, classes=list(CLS_CLASSES), **common)
        found = CustomDataset(data_prefix=split, **common)
        assert found.CLASSES == CLS_CLASSES
        for dataset in (named, found):
            labels = [dataset[index]['gt_label'] for index in range(count)]
            assert labels == sorted(index % 12 for index in range(count))
            assert dataset[0]['img'].shape == (64, 64, 3)


def test_same_seed_same_bytes(tmp_path):
    for name, seed in (('a', 0), ('b', 0), ('c', 1)):
        write_shapes_cls(tmp_path / name, **SMALL, seed=seed)
    first, again, other = (files(tmp_path / name) for name in 'abc')
    assert first == again
    assert len(first) == 26 + 12 + 1
    assert first.keys() == other.keys()
    assert all(first[name] != other[name] for name in first)


def test_image_depends_on_its_split_and_index_alone(tmp_path):
    write_shapes_cls(tmp_path / 'few', {'train': 5})
    write_shapes_cls(tmp_path / 'more', {'val': 5, 'train': 14})
    few, more = (files(tmp_path / name) for name in ('few', 'more'))
    images = [name for name in few if name.endswith('.png')]
    assert len(images) == 5
    for name in images:
        assert few[name] == more[name] != more[name.replace('train', 'val')]


def test_complete_set_is_kept_and_another_one_needs_overwrite(tmp_path):
    root = tmp_path / 'set'
    statistics = write_shapes_cls(root, **SMALL)
    before = root.stat().st_ino
    assert write_shapes_cls(root, **SMALL, overwrite=True) == statistics
    assert root.stat().st_ino == before
    with pytest.raises(UserError, match=r"made with .*'seed': 0.*, or ask to overwr"):
        write_shapes_cls(root, **SMALL, seed=1)
    write_shapes_cls(root, **SMALL, seed=1, overwrite=True)
    assert json.loads((root / 'shapes.json').read_text())['parameters'] == {
        'format_version': 1,
        'layout': 'imagenet',
        'seed': 1,
        **SMALL,
    }


def test_scenes_and_single_objects_do_not_replace_each_other(tmp_path):
    write_shapes(tmp_path / 'scenes', {'val': 1}, image_size=64)
    write_shapes_cls(tmp_path / 'single', {'val': 1})
    with pytest.raises(UserError, match=r"also holds \['ade', 'coco'\]: move them"):
        write_shapes_cls(tmp_path / 'scenes', {'val': 1}, overwrite=True)
    with pytest.raises(UserError, match=r"also holds \['val'\]: move them away"):
        write_shapes(tmp_path / 'single', {'val': 1}, overwrite=True)


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        ({'splits': {}}, r"splits must name 'train', 'val' or both, got \[\]"),
        ({'splits': {'val': 0}}, 'val must have at least 1 image, got 0'),
        ({'image_size': 63}, 'image_size must be from 64 to 4096, got 63'),
        ({'seed': -1}, 'seed must not be negative, got -1'),
    ],
)
def test_parameters_out_of_range(tmp_path, arguments, message):
    with pytest.raises(UserError, match=message):
        write_shapes_cls(tmp_path / 'set', **arguments)
    assert not list(tmp_path.iterdir())


def test_command_line(tmp_path):
    root = tmp_path / 'set'
    tool = ('make_shapes.py', '--layout', 'imagenet')
    done = call_tool(*tool, root, '--train', 24, '--val', 144)
    assert done.returncode == 0, done.stderr
    marker = json.loads((root / 'shapes.json').read_text())
    assert marker['parameters']['image_size'] == 64
    assert marker['parameters']['splits'] == {'train': 24, 'val': 144}
    own = [split['own_background_share'] for split in marker['statistics'].values()]
    printed = [
        ' '.join(re.split('[ │]+', row)).strip() for row in done.stdout.splitlines()
    ]
    assert own[1] == 0.083
    for row in (
        'images 24 144',
        'classes 12 12',
        'images per class [2, 2] [12, 12]',
        f'own background share {own[0]} 0.083',
    ):
        assert row in printed
    assert_one_line_error(call_tool(*tool, root), 'holds Shapes made with')
    assert_one_line_error(
        call_tool(*tool, tmp_path / 'none', '--train', 0),
        'train must have at least 1 image, got 0',
    )
