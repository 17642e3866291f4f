"""Two-colour textures of the Shapes data set, for objects and backgrounds."""

import colorsys

import cv2
import numpy as np

TEXTURES = ('plain', 'stripes', 'checker', 'dots', 'noise', 'waves')


def pattern(
    kind: str, u: np.ndarray, v: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """How much of the second colour each point shows.

    Args:
        kind: One of ``TEXTURES`` or ``'gradient'``.
        u: Horizontal coordinates in periods of the texture, (H, W).
        v: Vertical coordinates in periods of the texture, (H, W).
        rng: Source of the random phase and noise.

    Returns:
        Weights in [0, 1], float32, (H, W).
    """
    phase_u, phase_v = rng.random(2)
    u, v = u + phase_u, v + phase_v
    if kind == 'plain':
        weight = np.zeros_like(u)
    elif kind == 'stripes':
        weight = u % 1 < 0.5
    elif kind == 'checker':
        weight = (u % 1 < 0.5) ^ (v % 1 < 0.5)
    elif kind == 'dots':
        weight = np.hypot(u % 1 - 0.5, v % 1 - 0.5) < 0.32
    elif kind == 'waves':
        weight = 0.5 + 0.5 * np.sin(2 * np.pi * (u + 0.35 * np.sin(2 * np.pi * v)))
    elif kind == 'noise':
        weight = _noise(u, v, rng)
    else:
        weight = (u - u.min()) / max(np.ptp(u), 1e-6)
    return weight.astype(np.float32)


def _noise(u: np.ndarray, v: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Smooth noise: random values one period apart, interpolated."""
    height, width = u.shape
    rows, cols = (max(2, int(np.ceil(np.ptp(axis)))) for axis in (v, u))
    grid = rng.random((rows, cols), dtype=np.float32)
    noise = cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.clip(noise, 0, 1)


def textured(
    kind: str,
    window: tuple[slice, slice],
    angle: float,
    period: float,
    first: tuple[float, ...],
    second: tuple[float, ...],
    rng: np.random.Generator,
) -> np.ndarray:
    """Paint a window of an image with a turned texture.

    Args:
        kind: As `pattern` takes it.
        window: Rows and columns of the image.
        angle: How far the texture is turned, in radians.
        period: Of the texture, in pixels.
        first: HSV colour, in [0, 1].
        second: The other one.
        rng: Source of the random phase and noise.

    Returns:
        RGB in [0, 255], float32, (H, W, 3).
    """
    y, x = np.mgrid[window].astype(np.float32)
    u = (np.cos(angle) * x + np.sin(angle) * y).astype(np.float32)
    v = (np.cos(angle) * y - np.sin(angle) * x).astype(np.float32)
    return paint(pattern(kind, u / period, v / period, rng), first, second)


def paint(
    weight: np.ndarray, first: tuple[float, ...], second: tuple[float, ...]
) -> np.ndarray:
    """Blend two HSV colours (all in [0, 1]) to RGB in [0, 255], (H, W, 3)."""
    low, high = (
        np.array(colorsys.hsv_to_rgb(*hsv), np.float32) for hsv in (first, second)
    )
    return 255 * (low + weight[..., None] * (high - low))
