"""One Shapes scene: objects that occlude one another on a textured background.

Objects are drawn back to front. ``owner`` says for every pixel which instance is
on top there, so the masks are what is visible, and disjoint, by construction.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from mmrapidnet.data.textures import TEXTURES, paint, pattern

CLASSES = ('disc', 'square', 'triangle', 'star', 'ring', 'cross')
PALETTE = (
    (220, 60, 60),
    (220, 200, 50),
    (70, 190, 80),
    (60, 190, 200),
    (70, 90, 220),
    (200, 80, 200),
)

# Sizes are in pixels of an image 192 wide and scale with the image.
REFERENCE_SIZE = 192
OBJECTS = (3, 9)
DIAMETER = (28, 90)
CROWD_MEMBERS = (9, 15)
CROWD_DIAMETER = (13, 20)
EMPTY_SHARE = 0.05
CROWD_SHARE = 0.05

# A class shows its own hue and its own texture this often, otherwise any.
TYPICAL = 0.75
HUE_SPREAD = 0.1

# This share of the objects is put over another one: each hides at least
# MIN_HIDDEN of something, and MIN_VISIBLE of everything stays visible.
OVERLAP_SHARE = 0.5
MIN_HIDDEN = 0.15
MIN_VISIBLE = 0.45
TRIES = 30
SUPERSAMPLING = 4


@dataclass
class Instance:
    """An object, or a crowd of small objects of one class.

    Attributes:
        label: Index into ``CLASSES``.
        full_area: Pixels inside the image before anything was drawn over it.
        iscrowd: Whether this is a crowd.
    """

    label: int
    full_area: int
    iscrowd: bool = False


@dataclass
class Scene:
    """An image and what is visible in it.

    Attributes:
        image: RGB, uint8, (H, W, 3).
        owner: 0 for background, ``i + 1`` where ``instances[i]`` is visible,
            uint8, (H, W).
        instances: From back to front.
    """

    image: np.ndarray
    owner: np.ndarray
    instances: list[Instance]

    def mask(self, index: int) -> np.ndarray:
        """Visible part of ``instances[index]``, uint8, (H, W)."""
        return (self.owner == index + 1).astype(np.uint8)


@dataclass
class _Stamp:
    """An outline rasterised into the part of the image it touches."""

    window: tuple[slice, slice]
    coverage: np.ndarray
    angle: float

    @property
    def mask(self) -> np.ndarray:
        return self.coverage >= 0.5


def draw_scene(size: int, rng: np.random.Generator) -> Scene:
    """Draw one scene.

    Args:
        size: Height and width of the image in pixels.
        rng: Everything random is drawn from it.

    Returns:
        The scene, with no instance in about one of twenty.

    Example:
        >>> scene = draw_scene(96, np.random.default_rng(0))
        >>> scene.image.shape, scene.owner.shape
        ((96, 96, 3), (96, 96))
    """
    scene = Scene(_background(size, rng), np.zeros((size, size), np.uint8), [])
    if rng.random() >= EMPTY_SHARE:
        if rng.random() < CROWD_SHARE:
            _add_crowd(scene, rng)
        for _ in range(rng.integers(*OBJECTS)):
            _add_object(scene, rng)
    grain = rng.normal(0, 3, (size, size, 1))
    scene.image = np.clip(scene.image + grain, 0, 255).astype(np.uint8)
    return scene


def _background(size: int, rng: np.random.Generator) -> np.ndarray:
    """A muted texture with coarse periods, RGB float32, (size, size, 3)."""
    period = size * rng.uniform(0.1, 0.35)
    u, v = _coordinates((slice(0, size), slice(0, size)), rng.uniform(0, np.pi))
    kind = rng.choice(['noise', 'stripes', 'checker', 'gradient'])
    hue, value = rng.random(), rng.uniform(0.25, 0.85)
    first = (hue, rng.uniform(0, 0.4), value)
    second = (
        (hue + rng.normal(0, 0.1)) % 1,
        rng.uniform(0, 0.4),
        np.clip(value + rng.uniform(-0.25, 0.25), 0.15, 0.95),
    )
    return paint(pattern(kind, u / period, v / period, rng), first, second)


def _add_object(scene: Scene, rng: np.random.Generator) -> None:
    """Put an object apart from the others or over one of them, if there is room."""
    overlap = bool(scene.instances) and rng.random() < OVERLAP_SHARE
    label = int(rng.integers(len(CLASSES)))
    for _ in range(TRIES):
        centre = rng.uniform(0.08, 0.92, 2) * len(scene.owner)
        stamp = _stamp(scene, label, centre, DIAMETER, rng)
        if _fits(scene, stamp, overlap):
            _draw(scene, stamp, label, rng, owner=len(scene.instances) + 1)
            scene.instances.append(Instance(label, int(stamp.mask.sum())))
            return


def _add_crowd(scene: Scene, rng: np.random.Generator) -> None:
    """Put a cluster of small objects of one class, annotated as one region."""
    size = len(scene.owner)
    label = int(rng.integers(len(CLASSES)))
    middle = rng.uniform(0.25, 0.75, 2) * size
    for _ in range(rng.integers(*CROWD_MEMBERS)):
        centre = np.clip(middle + rng.normal(0, 0.09 * size, 2), 0, size - 1)
        stamp = _stamp(scene, label, centre, CROWD_DIAMETER, rng)
        _draw(scene, stamp, label, rng, owner=1)
    scene.instances.append(Instance(label, int(scene.owner.sum()), iscrowd=True))


def _fits(scene: Scene, stamp: _Stamp, overlap: bool) -> bool:
    """Whether the stamp hides nothing or, to overlap, enough but not too much."""
    count = len(scene.instances) + 1
    lost = np.bincount(scene.owner[stamp.window][stamp.mask], minlength=count)[1:]
    if not overlap:
        return not lost.any()
    visible = np.bincount(scene.owner.ravel(), minlength=count)[1:]
    full = np.array([instance.full_area for instance in scene.instances])
    kept = (visible - lost) / full
    return (lost / full).max() >= MIN_HIDDEN and kept[lost > 0].min() >= MIN_VISIBLE


def _stamp(
    scene: Scene,
    label: int,
    centre: np.ndarray,
    diameter: tuple[float, float],
    rng: np.random.Generator,
) -> _Stamp:
    """Rasterise a class's outline, turned and stretched at random, at ``centre``."""
    size = len(scene.owner)
    radius = rng.uniform(*diameter) / 2 * size / REFERENCE_SIZE
    angle = rng.uniform(0, 2 * np.pi)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    stretch = radius * np.diag([1, rng.uniform(0.8, 1)])
    contours = [contour @ stretch @ turn.T + centre for contour in _outline(label)]
    low = np.clip(np.floor(contours[0].min(0)), 0, size - 1).astype(int)
    high = np.clip(np.ceil(contours[0].max(0)), low + 1, size).astype(int)
    return _Stamp(
        (slice(low[1], high[1]), slice(low[0], high[0])),
        _rasterise([contour - low for contour in contours], *(high - low)),
        angle,
    )


def _rasterise(contours: list[np.ndarray], width: int, height: int) -> np.ndarray:
    """Share of each pixel inside the contours (even-odd), float32, (H, W)."""
    canvas = np.zeros((height * SUPERSAMPLING, width * SUPERSAMPLING), np.uint8)
    points = [np.round(c * SUPERSAMPLING - 0.5).astype(np.int32) for c in contours]
    cv2.fillPoly(canvas, points, 255)
    small = cv2.resize(canvas, (int(width), int(height)), interpolation=cv2.INTER_AREA)
    return small.astype(np.float32) / 255


def _outline(label: int) -> list[np.ndarray]:
    """Contours of a class in the unit circle, each (N, 2); a ring has two."""
    name = CLASSES[label]
    if name == 'disc':
        return [_regular(48)]
    if name == 'square':
        return [_regular(4)]
    if name == 'triangle':
        return [_regular(3)]
    if name == 'star':
        return [_regular(10) * np.tile([[1.0], [0.45]], (5, 1))]
    if name == 'ring':
        return [_regular(48), 0.5 * _regular(48)]
    arm = 0.3
    quarter = np.array([[0.95, -arm], [0.95, arm], [arm, arm]])
    turn = np.array([[0, 1], [-1, 0]])
    return [
        np.concatenate([quarter @ np.linalg.matrix_power(turn, k) for k in range(4)])
    ]


def _regular(count: int) -> np.ndarray:
    """Corners of a regular polygon in the unit circle, (count, 2)."""
    angles = 2 * np.pi * np.arange(count) / count
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)


def _draw(
    scene: Scene, stamp: _Stamp, label: int, rng: np.random.Generator, owner: int
) -> None:
    """Blend a stamp over the image and take its pixels."""
    kind = TEXTURES[_typical(label, rng)]
    hue = (_typical(label, rng) / len(CLASSES) + rng.uniform(-1, 1) * HUE_SPREAD) % 1
    saturation, value = rng.uniform(0.6, 1), rng.uniform(0.65, 1)
    first, second = (hue, saturation, value), (hue, saturation, 0.45 * value)
    period = rng.uniform(7, 12) * len(scene.owner) / REFERENCE_SIZE
    u, v = _coordinates(stamp.window, stamp.angle)
    colour = paint(pattern(kind, u / period, v / period, rng), first, second)
    alpha = stamp.coverage[..., None]
    scene.image[stamp.window] += alpha * (colour - scene.image[stamp.window])
    scene.owner[stamp.window][stamp.mask] = owner


def _typical(label: int, rng: np.random.Generator) -> int:
    """The class itself or, less often, any class, to take an attribute of."""
    return label if rng.random() < TYPICAL else int(rng.integers(len(CLASSES)))


def _coordinates(
    window: tuple[slice, slice], angle: float
) -> tuple[np.ndarray, np.ndarray]:
    """Pixel coordinates of a window along axes turned by ``angle``."""
    y, x = np.mgrid[window].astype(np.float32)
    u = np.cos(angle) * x + np.sin(angle) * y
    v = np.cos(angle) * y - np.sin(angle) * x
    return u.astype(np.float32), v.astype(np.float32)
