"""What one Shapes scene draws and says it drew."""

import numpy as np
import pytest

from mmrapidnet.datasets.shapes import Instance, Scene, draw_scene
from mmrapidnet.datasets.shapes import scene as scene_module
from mmrapidnet.datasets.shapes import textures as textures_module
from mmrapidnet.datasets.shapes.layouts import ade_label_map, coco_annotations
from mmrapidnet.datasets.shapes.textures import TEXTURES, paint, pattern, textured


@pytest.mark.parametrize('index', range(12))
def test_owner_is_what_the_image_shows_on_top(index, monkeypatch):
    painted = []

    def paint_number(weight, first, second):
        painted.append(None)
        return np.full((*weight.shape, 3), 28.0 * (len(painted) - 1), np.float32)

    monkeypatch.setattr(textures_module, 'paint', paint_number)
    monkeypatch.setattr(scene_module, 'CROWD_SHARE', 0)
    scene = draw_scene(128, np.random.default_rng(index))
    seen = np.round(scene.image[..., 0] / 28).astype(int)
    inside = ade_label_map(scene) > 0
    wrong = inside & (seen != scene.owner)
    assert len(painted) == 1 + len(scene.instances)
    # Blended pixels reach past the band only at the tips of sharp corners.
    assert wrong.sum() <= len(scene.instances)


def test_objects_stay_visible_enough():
    for index in range(40):
        scene = draw_scene(192, np.random.default_rng(index))
        for number, instance in enumerate(scene.instances):
            area = int(scene.mask(number).sum())
            assert 30 <= area <= instance.full_area
            if not instance.iscrowd:
                assert area >= scene_module.MIN_VISIBLE * instance.full_area


def test_objects_scale_with_the_image():
    areas = {}
    for size in (96, 192):
        scenes = [draw_scene(size, np.random.default_rng(i)) for i in range(40)]
        areas[size] = np.mean([i.full_area for s in scenes for i in s.instances])
    assert areas[192] / areas[96] == pytest.approx(4, rel=0.1)


def test_class_typical_attributes_overlap():
    rng = np.random.default_rng(0)
    drawn = np.bincount([scene_module._typical(2, rng) for _ in range(6000)])
    expected = np.full(6, 0.25 / 6)
    expected[2] += 0.75
    np.testing.assert_allclose(drawn / 6000, expected, atol=0.02)


def _two_squares() -> Scene:
    """A 10x10 triangle-class square, a quarter of it under a cross-class one."""
    owner = np.zeros((40, 40), np.uint8)
    owner[5:15, 5:15] = 1
    owner[10:20, 10:20] = 2
    image = np.zeros((40, 40, 3), np.uint8)
    return Scene(image, owner, [Instance(2, 100), Instance(5, 100)])


def test_coco_annotations_of_a_known_scene():
    back, front = coco_annotations(_two_squares(), image_id=7, first_id=3)
    assert (back['id'], back['image_id'], back['category_id']) == (3, 7, 3)
    assert (back['area'], back['bbox']) == (75, [5, 5, 10, 10])
    assert (back['occlusion'], back['iscrowd']) == (0.25, 0)
    assert (front['id'], front['category_id']) == (4, 6)
    assert (front['area'], front['bbox']) == (100, [10, 10, 10, 10])
    assert front['occlusion'] == 0


def test_label_map_of_a_known_scene():
    label_map = ade_label_map(_two_squares())
    # Row 7 crosses the back square, row 12 both, row 30 neither.
    assert label_map[7, 2:18].tolist() == [1, 1, 0, 0, *[4] * 8, 0, 0, 1, 1]
    assert label_map[12, 2:13].tolist() == [1, 1, 0, 0, 4, 4, 4, 0, 0, 7, 7]
    assert set(label_map[30]) == {1}


@pytest.mark.parametrize('kind', [*TEXTURES, 'gradient'])
def test_pattern_is_a_weight(kind):
    v, u = np.mgrid[:40, :60].astype(np.float32) / 8
    weight = pattern(kind, u, v, np.random.default_rng(0))
    assert weight.shape == (40, 60) and weight.dtype == np.float32
    assert weight.min() >= 0 and weight.max() <= 1
    assert (np.ptp(weight) > 0.5) == (kind != 'plain')


def test_stripes_take_half_of_each_period():
    v, u = np.mgrid[:16, :16].astype(np.float32) / 8
    weight = pattern('stripes', u, v, np.random.default_rng(0))
    assert weight.mean() == 0.5
    assert (weight == weight[:1]).all()


def test_paint_blends_two_colours():
    weight = np.array([[0, 0.5, 1]], np.float32)
    red, black = (0, 1, 1), (0, 0, 0)
    assert paint(weight, red, black).tolist() == [[[255, 0, 0], [127.5, 0, 0], [0] * 3]]


def test_textures_turn_with_their_angle():
    """Stripes of a period of 8 pixels, upright and turned by a quarter."""
    window = (slice(3, 19), slice(5, 21))
    colours = (8, (0, 0, 0), (0, 0, 1))
    rng = np.random.default_rng
    upright = textured('stripes', window, 0, *colours, rng(0))
    assert upright.shape == (16, 16, 3)
    assert set(np.unique(upright)) == {0, 255}
    assert (upright == upright[:1]).all() and (upright[:, :8] == upright[:, 8:]).all()
    turned = textured('stripes', window, np.pi / 2, *colours, rng(0))
    assert (turned == turned[:, :1]).all() and not (turned == turned[:1]).all()
