"""One object an image, to classify, on a background that misleads.

The class is the object's outline together with its texture: six outlines, each dotted
or striped, make twelve classes.  Nothing else tells it: the object has any hue, and a
patch of dots or stripes alone says little, since backgrounds are dotted and striped,
too, with the same periods; nor does an outline alone, since both textures have it.
"""

from __future__ import annotations

import numpy as np

from mmrapidnet.datasets.shapes.outlines import OUTLINES, make_outline
from mmrapidnet.datasets.shapes.textures import TEXTURES, textured

CLS_CLASSES = tuple(
    f'{outline}_{texture}'
    for outline in sorted(OUTLINES)
    for texture in ('dots', 'stripes')
)

# In pixels of an image 64 wide; they scale with the image.  Objects and textures are
# as large, in pixels, as those of a scene 192 wide.
REFERENCE_SIZE = 64
DIAMETER = (40, 60)
OBJECT_PERIOD = (7, 11)
BACKGROUND_PERIOD = (7, 20)


def draw_single(
    label: int, look: int, size: int, rng: np.random.Generator
) -> np.ndarray:
    """Draw an object of a class before a background that looks in one of twelve ways.

    Args:
        label: Index into ``CLS_CLASSES``.
        look: Which background, as many as classes: it has a range of hues that no other
            has, and one of the six textures.
        size: Height and width of the image in pixels.
        rng: Everything random is drawn from it.

    Returns:
        RGB, uint8, (size, size, 3); the object is entirely inside.

    Examples:
        >>> draw_single(0, 7, 64, np.random.default_rng(0)).shape
        (64, 64, 3)
    """
    name, texture = CLS_CLASSES[label].split('_')
    scale = size / REFERENCE_SIZE
    image = _background(look, size, rng)
    radius = scale * rng.uniform(*DIAMETER) / 2
    centre = rng.uniform(radius, size - radius, 2)
    outline = make_outline(name, centre, radius, size, rng)
    hue, saturation, value = rng.random(), rng.uniform(0.6, 1), rng.uniform(0.65, 1)
    first, second = (hue, saturation, value), (hue, saturation, 0.45 * value)
    period = scale * rng.uniform(*OBJECT_PERIOD)
    colour = textured(
        texture, outline.window, outline.angle, period, first, second, rng
    )
    outline.blend(image, colour)
    grain = rng.normal(0, 3, (size, size, 1))
    return np.clip(image + grain, 0, 255).astype(np.uint8)


def _background(look: int, size: int, rng: np.random.Generator) -> np.ndarray:
    """A muted texture in the hue and of the kind of a look, RGB float32."""
    period = size / REFERENCE_SIZE * rng.uniform(*BACKGROUND_PERIOD)
    hue = (look + rng.uniform(-0.5, 0.5)) / len(CLS_CLASSES) % 1
    value = rng.uniform(0.25, 0.85)
    other = np.clip(value + rng.uniform(-0.25, 0.25), 0.15, 0.95)
    first = (hue, rng.uniform(0.2, 0.4), value)
    second = (hue, rng.uniform(0.2, 0.4), other)
    window = (slice(0, size), slice(0, size))
    angle = rng.uniform(0, np.pi)
    kind = TEXTURES[look % len(TEXTURES)]
    return textured(kind, window, angle, period, first, second, rng)
