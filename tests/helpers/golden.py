"""What the published implementations compute from parameters anyone can rebuild.

``data/golden/*.npz`` holds their features and logits (float64, stored as float32)
once every tensor of their state dict is drawn from a generator that is seeded by the
tensor's published name.
"""

import zlib
from pathlib import Path

import numpy as np
import torch

FOLDER = Path(__file__).parents[1] / 'data' / 'golden'


def _rng(name: str) -> np.random.RandomState:
    return np.random.RandomState(zlib.crc32(name.encode()) & 0x7FFFFFFF)


def parameter(name: str, shape: tuple[int, ...]) -> torch.Tensor:
    """The tensor that stands for a published name."""
    rng, leaf = _rng(name), name.rpartition('.')[2]
    if leaf == 'num_batches_tracked':
        values = np.zeros(shape, dtype=np.int64)
    elif leaf == 'running_mean' or leaf == 'bias':
        values = rng.standard_normal(shape) * 0.1
    elif leaf.startswith('layer_scale'):
        values = rng.uniform(0.1, 0.5, shape)
    elif leaf == 'running_var' or len(shape) <= 1:
        values = rng.uniform(0.5, 1.5, shape)
    else:
        values = rng.standard_normal(shape) * np.sqrt(0.5 / np.prod(shape[1:]))
    return torch.as_tensor(values)


def image(height: int, width: int) -> torch.Tensor:
    """The input, (1, 3, height, width), in float64."""
    rng = _rng(f'input-{height}x{width}')
    return torch.from_numpy(rng.standard_normal((1, 3, height, width)))


def expected(model: str) -> dict[str, torch.Tensor]:
    """The published implementation's results, such as '64x96_stage0'."""
    with np.load(FOLDER / f'{model}.npz') as data:
        return {name: torch.from_numpy(data[name]).double() for name in data.files}


def largest_difference(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    """Maximum absolute difference over maximum absolute value."""
    return ((ours - theirs).abs().max() / theirs.abs().max()).item()


def sam_image(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """An image, uint8 (height, width, 3), RGB, and a mask prompt (1, 256, 256)."""
    rng = _rng(f'sam-image-{height}x{width}')
    coarse = rng.uniform(0, 255, (height // 32, width // 32, 3))
    coarse = np.kron(coarse, np.ones((32, 32, 1)))
    pixels = np.round(coarse * 0.7 + rng.uniform(0, 76, (height, width, 3)))
    mask = np.kron(rng.standard_normal((1, 32, 32)), np.ones((8, 8))) * 4
    return pixels.clip(0, 255).astype(np.uint8), mask


def sam_prompts(height: int, width: int) -> dict[str, dict]:
    """Prompts in pixels of the image, as a predictor takes them."""

    def point(x: float, y: float) -> list[float]:
        return [x * width, y * height]

    box = point(0.2, 0.15) + point(0.7, 0.8)
    return {
        'point': dict(point_coords=[point(0.35, 0.4)], point_labels=[1]),
        'points': dict(
            point_coords=[point(0.35, 0.4), point(0.6, 0.7)],
            point_labels=[1, 0],
            multimask_output=False,
        ),
        'box': dict(box=box, multimask_output=False),
        'box_point': dict(point_coords=[point(0.5, 0.5)], point_labels=[1], box=box),
        'mask_point': dict(
            point_coords=[point(0.25, 0.3)], point_labels=[1], multimask_output=False
        ),
    }
