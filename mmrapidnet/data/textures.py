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


def paint(
    weight: np.ndarray, first: tuple[float, ...], second: tuple[float, ...]
) -> np.ndarray:
    """Blend two HSV colours (all in [0, 1]) to RGB in [0, 255], (H, W, 3)."""
    low, high = (
        np.array(colorsys.hsv_to_rgb(*hsv), np.float32) for hsv in (first, second)
    )
    return 255 * (low + weight[..., None] * (high - low))
