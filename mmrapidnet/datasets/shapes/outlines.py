"""Outlines of the Shapes data set, rasterised and blended over an image."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

SUPERSAMPLING = 4


def _regular(count: int) -> np.ndarray:
    """Corners of a regular polygon in the unit circle, (count, 2)."""
    angles = 2 * np.pi * np.arange(count) / count
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)


def _cross() -> np.ndarray:
    """Corners of a cross in the unit circle, (12, 2)."""
    quarter = np.array([[0.95, -0.3], [0.95, 0.3], [0.3, 0.3]])
    turn = np.array([[0, 1], [-1, 0]])
    return np.concatenate([quarter @ np.linalg.matrix_power(turn, k) for k in range(4)])


# In the unit circle, each (N, 2); a ring has two.
CONTOURS = {
    'disc': [_regular(48)],
    'square': [_regular(4)],
    'triangle': [_regular(3)],
    'star': [_regular(10) * np.tile([[1.0], [0.45]], (5, 1))],
    'ring': [_regular(48), 0.5 * _regular(48)],
    'cross': [_cross()],
}
OUTLINES = tuple(CONTOURS)


@dataclass
class Outline:
    """An outline rasterised into the part of the image it touches.

    Attributes:
        window: Rows and columns of that part.
        coverage: Share of each of its pixels inside the outline, float32, (H, W).
        angle: How far the outline is turned, in radians.
    """

    window: tuple[slice, slice]
    coverage: np.ndarray
    angle: float

    @property
    def mask(self) -> np.ndarray:
        """The pixels that are its own, bool, (H, W)."""
        return self.coverage >= 0.5

    def blend(self, image: np.ndarray, colour: np.ndarray) -> None:
        """Put colours over an image where the outline covers it.

        Args:
            image: Float32, (height, width, 3), changed in place.
            colour: Colours of the window, (H, W, 3).
        """
        alpha = self.coverage[..., None]
        image[self.window] += alpha * (colour - image[self.window])


def make_outline(
    outline: str,
    centre: np.ndarray,
    radius: float,
    size: int,
    rng: np.random.Generator,
) -> Outline:
    """Rasterise an outline, turned and stretched at random.

    Args:
        outline: One of ``OUTLINES``.
        centre: Where it is, (x, y) in pixels.
        radius: Of the circle around it, in pixels.
        size: Height and width of the image in pixels.
        rng: Source of the turn and the stretch.

    Returns:
        The outline in its window.
    """
    angle = rng.uniform(0, 2 * np.pi)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    stretch = radius * np.diag([1, rng.uniform(0.8, 1)])
    contours = [c @ stretch @ turn.T + centre for c in CONTOURS[outline]]
    low = np.clip(np.floor(contours[0].min(0)), 0, size - 1).astype(int)
    high = np.clip(np.ceil(contours[0].max(0)), low + 1, size).astype(int)
    return Outline(
        (slice(low[1], high[1]), slice(low[0], high[0])),
        rasterise([contour - low for contour in contours], *(high - low)),
        angle,
    )


def rasterise(contours: list[np.ndarray], width: int, height: int) -> np.ndarray:
    """Share of each pixel inside the contours (even-odd), float32, (H, W)."""
    canvas = np.zeros((height * SUPERSAMPLING, width * SUPERSAMPLING), np.uint8)
    points = [np.round(c * SUPERSAMPLING - 0.5).astype(np.int32) for c in contours]
    cv2.fillPoly(canvas, points, 255)
    small = cv2.resize(canvas, (int(width), int(height)), interpolation=cv2.INTER_AREA)
    return small.astype(np.float32) / 255
