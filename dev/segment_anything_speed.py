"""Automatic masks of one image: the time of ours beside segment-anything's own.

Both have the same RepViT-SAM, with random weights: the time does not depend on them,
but on how many masks the model expects to be good, and that is chosen.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import MODELS
from torch import Tensor, nn

from dev.model_zoo.markdown import make_table
from mmrapidnet import compat
from mmrapidnet.apis import AutomaticMaskGenerator, SegmentAnythingPredictor
from mmrapidnet.apis.cli import main_guard
from mmrapidnet.config.load import load_config
from mmrapidnet.models import SegmentAnything

CONFIG = Path(__file__).resolve().parents[1] / 'configs' / 'sam_repvit_m2_3.py'
OURS, PACKAGE = 'mmrapidnet', 'segment-anything'


class Encoder(nn.Module):
    """The image encoder of a `SegmentAnything`, as segment-anything calls it.

    Args:
        model: The model.
    """

    def __init__(self, model: SegmentAnything) -> None:
        super().__init__()
        self.img_size = model.image_size
        self.extract_feat = model.extract_feat

    def forward(self, x: Tensor) -> Tensor:
        """From images to their embeddings."""
        return self.extract_feat(x)


def as_package_model(model: SegmentAnything) -> nn.Module:
    """The same model, with the same weights, as segment-anything has it."""
    from segment_anything.modeling import Sam

    return Sam(Encoder(model), model.prompt_encoder, model.mask_decoder).eval()


def measure(cfg: Config, points_per_side: int, passing: float, rounds: int) -> str:
    """Time both in turns.

    Args:
        cfg: The config of a `SegmentAnything` model.
        points_per_side: Points along each side of the image.
        passing: Which part of the masks is expected to be good.
        rounds: How often each is timed.

    Returns:
        A table in Markdown.
    """
    predictor = _build_predictor(cfg)
    size = predictor.model.image_size
    image = np.random.default_rng(0).integers(0, 256, (size, size, 3), np.uint8)
    settings = dict(
        points_per_side=points_per_side,
        pred_iou_thresh=_find_threshold(predictor, image, passing),
        stability_score_thresh=0.0,
    )
    generators = {
        PACKAGE: _package_generator(predictor, settings),
        OURS: AutomaticMaskGenerator(predictor, **settings),
    }
    seconds: dict[str, list[float]] = {name: [] for name in generators}
    for _ in range(rounds):
        for name, generator in generators.items():
            start = time.perf_counter()
            generator.generate(image)
            seconds[name].append(time.perf_counter() - start)
    return _make_table({name: median(times) for name, times in seconds.items()})


def _build_predictor(cfg: Config) -> SegmentAnythingPredictor:
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = Path(folder) / 'random.pth'
        torch.save({'state_dict': MODELS.build(cfg.model).state_dict()}, checkpoint)
        return SegmentAnythingPredictor(cfg, checkpoint, device='cpu')


def _find_threshold(
    predictor: SegmentAnythingPredictor, image: np.ndarray, passing: float
) -> float:
    """The predicted IoU that a part of the masks has more than."""
    predictor.set_image(image)
    points = np.random.default_rng(0).uniform(0, len(image), (32, 1, 2))
    _, ious = predictor.predict_logits(points, np.ones((32, 1)))
    return ious.flatten().quantile(1 - passing).item()


def _package_generator(
    predictor: SegmentAnythingPredictor, settings: dict[str, Any]
) -> Any:
    from segment_anything import SamAutomaticMaskGenerator, automatic_mask_generator

    # Where torchvision is built for another torch, its kernel is missing.
    automatic_mask_generator.batched_nms = _suppress
    model = as_package_model(predictor.model)
    return SamAutomaticMaskGenerator(model, **settings)


def _suppress(
    boxes: Tensor, scores: Tensor, idxs: Tensor, iou_threshold: float
) -> Tensor:
    from mmcv.ops import nms

    return nms(boxes, scores.float(), iou_threshold)[1]


def _make_table(seconds: dict[str, float]) -> str:
    rows = [
        (name, f'{value:.1f}', f'{value / seconds[PACKAGE]:.2f}')
        for name, value in seconds.items()
    ]
    return make_table(('', 'seconds', 'ratio'), rows)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', nargs='?', default=str(CONFIG), help='config file')
    parser.add_argument('--points-per-side', type=int, default=32)
    parser.add_argument(
        '--passing',
        type=float,
        default=0.25,
        help='the part of the masks that is expected to be good (default: %(default)s)',
    )
    parser.add_argument('--rounds', type=int, default=1)
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    compat.apply()
    cfg = load_config(args.config)
    print(measure(cfg, args.points_per_side, args.passing, args.rounds))


if __name__ == '__main__':
    main_guard(main)
