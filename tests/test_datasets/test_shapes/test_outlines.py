"""The outlines of Shapes: their areas, and how they lie over an image."""

import numpy as np
import pytest

from mmrapidnet.datasets.shapes.outlines import (
    CONTOURS,
    OUTLINES,
    Outline,
    make_outline,
    rasterise,
)

# Areas of the outlines in the unit circle, worked out by hand.
DISC = 24 * np.sin(2 * np.pi / 48)
UNIT_AREAS = {
    'disc': DISC,
    'square': 2.0,
    'triangle': 3 * np.sqrt(3) / 4,
    'star': 5 * 0.45 * np.sin(np.pi / 5),
    'ring': 0.75 * DISC,
    'cross': 0.6**2 + 4 * 0.6 * 0.65,
}


@pytest.mark.parametrize('name', OUTLINES)
def test_outline_covers_its_area_around_its_centre(name):
    contours = [40 * contour + 50 for contour in CONTOURS[name]]
    coverage = rasterise(contours, 100, 100)
    assert coverage.sum() == pytest.approx(1600 * UNIT_AREAS[name], rel=0.02)
    y, x = np.mgrid[:100, :100] + 0.5
    centre = [(coverage * axis).sum() / coverage.sum() for axis in (x, y)]
    assert centre == pytest.approx([50, 50], abs=0.15)
    assert coverage[50, 50] == (0 if name == 'ring' else 1)


@pytest.mark.parametrize('name', OUTLINES)
def test_outline_lies_in_its_circle(name):
    rng = np.random.default_rng(0)
    centre = np.array([70.0, 60.0])
    for _ in range(20):
        outline = make_outline(name, centre, 24.0, 128, rng)
        y, x = np.mgrid[outline.window] + 0.5
        distance = np.hypot(x - centre[0], y - centre[1])[outline.coverage > 0]
        # Half a pixel's diagonal, and what rounding moves a corner.
        assert distance.max() <= 24 + np.sqrt(0.5) + 0.25
        # Stretched to between 0.8 and 1; rounding adds to the edges.
        area = 24**2 * UNIT_AREAS[name]
        assert 0.79 * area <= outline.coverage.sum() <= 1.03 * area


def test_stamp_is_cut_off_at_the_edge():
    outline = make_outline(
        'disc', np.array([0.0, 63.0]), 10.0, 64, np.random.default_rng(0)
    )
    rows, cols = outline.window
    assert cols.start == 0 and rows.stop == 64
    assert outline.coverage.shape == (64 - rows.start, cols.stop)


def test_blending_by_coverage():
    outline = Outline(
        window=(slice(1, 2), slice(0, 3)),
        coverage=np.array([[0, 0.25, 1]], np.float32),
        angle=0.0,
    )
    image = np.full((2, 3, 3), 100, np.float32)
    outline.blend(image, np.full((1, 3, 3), 200, np.float32))
    assert image[..., 0].tolist() == [[100, 100, 100], [100, 125, 200]]
    assert outline.mask.tolist() == [[False, False, True]]
