"""One Shapes scene: objects that occlude one another on a textured background.

Objects are drawn back to front. ``owner`` says for every pixel which instance is
on top there, so the masks are what is visible, and disjoint, by construction.
"""

from dataclasses import dataclass

import numpy as np

from mmrapidnet.datasets.shapes.outlines import OUTLINES, Outline, make_outline
from mmrapidnet.datasets.shapes.textures import TEXTURES, textured

CLASSES = OUTLINES
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


def draw_scene(size: int, rng: np.random.Generator) -> Scene:
    """Draw one scene.

    Args:
        size: Height and width of the image in pixels.
        rng: Everything random is drawn from it.

    Returns:
        The scene, with no instance in about one of twenty.

    Examples:
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
    period, angle = size * rng.uniform(0.1, 0.35), rng.uniform(0, np.pi)
    kind = rng.choice(['noise', 'stripes', 'checker', 'gradient'])
    hue, value = rng.random(), rng.uniform(0.25, 0.85)
    first = (hue, rng.uniform(0, 0.4), value)
    second = (
        (hue + rng.normal(0, 0.1)) % 1,
        rng.uniform(0, 0.4),
        np.clip(value + rng.uniform(-0.25, 0.25), 0.15, 0.95),
    )
    window = (slice(0, size), slice(0, size))
    return textured(kind, window, angle, period, first, second, rng)


def _add_object(scene: Scene, rng: np.random.Generator) -> None:
    """Put an object apart from the others or over one of them, if there is room."""
    overlap = bool(scene.instances) and rng.random() < OVERLAP_SHARE
    label = int(rng.integers(len(CLASSES)))
    for _ in range(TRIES):
        centre = rng.uniform(0.08, 0.92, 2) * len(scene.owner)
        outline = _outline(scene, label, centre, DIAMETER, rng)
        if _fits(scene, outline, overlap):
            _draw(scene, outline, label, rng, owner=len(scene.instances) + 1)
            scene.instances.append(Instance(label, int(outline.mask.sum())))
            return


def _add_crowd(scene: Scene, rng: np.random.Generator) -> None:
    """Put a cluster of small objects of one class, annotated as one region."""
    size = len(scene.owner)
    label = int(rng.integers(len(CLASSES)))
    middle = rng.uniform(0.25, 0.75, 2) * size
    for _ in range(rng.integers(*CROWD_MEMBERS)):
        centre = np.clip(middle + rng.normal(0, 0.09 * size, 2), 0, size - 1)
        outline = _outline(scene, label, centre, CROWD_DIAMETER, rng)
        _draw(scene, outline, label, rng, owner=1)
    scene.instances.append(Instance(label, int(scene.owner.sum()), iscrowd=True))


def _fits(scene: Scene, outline: Outline, overlap: bool) -> bool:
    """Whether the object hides nothing or, to overlap, enough but not too much."""
    count = len(scene.instances) + 1
    lost = np.bincount(scene.owner[outline.window][outline.mask], minlength=count)[1:]
    if not overlap:
        return not lost.any()
    visible = np.bincount(scene.owner.ravel(), minlength=count)[1:]
    full = np.array([instance.full_area for instance in scene.instances])
    kept = (visible - lost) / full
    return (lost / full).max() >= MIN_HIDDEN and kept[lost > 0].min() >= MIN_VISIBLE


def _outline(
    scene: Scene,
    label: int,
    centre: np.ndarray,
    diameter: tuple[float, float],
    rng: np.random.Generator,
) -> Outline:
    """Rasterise a class's outline at ``centre``, its diameter in a range."""
    size = len(scene.owner)
    radius = rng.uniform(*diameter) / 2 * size / REFERENCE_SIZE
    return make_outline(CLASSES[label], centre, radius, size, rng)


def _draw(
    scene: Scene, outline: Outline, label: int, rng: np.random.Generator, owner: int
) -> None:
    """Blend an outline over the image and take its pixels."""
    kind = TEXTURES[_typical(label, rng)]
    hue = (_typical(label, rng) / len(CLASSES) + rng.uniform(-1, 1) * HUE_SPREAD) % 1
    saturation, value = rng.uniform(0.6, 1), rng.uniform(0.65, 1)
    first, second = (hue, saturation, value), (hue, saturation, 0.45 * value)
    period = rng.uniform(7, 12) * len(scene.owner) / REFERENCE_SIZE
    colour = textured(kind, outline.window, outline.angle, period, first, second, rng)
    outline.blend(scene.image, colour)
    scene.owner[outline.window][outline.mask] = owner


def _typical(label: int, rng: np.random.Generator) -> int:
    """The class itself or, less often, any class, to take an attribute of."""
    return label if rng.random() < TYPICAL else int(rng.integers(len(CLASSES)))
