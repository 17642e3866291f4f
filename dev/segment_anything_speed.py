"""Automatic masks, the mask of a box, encoders: our time beside segment-anything's.

All have the same RepViT-SAM, with random weights: the time does not depend on them,
but on how many masks the model expects to be good, and that is chosen.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import MODELS
from torch import Tensor, nn

from dev.model_zoo.markdown import make_table
from dev.segment_anything_encoders import build_encoders, measure_encoders
from mmrapidnet import compat
from mmrapidnet.apis import AutomaticMaskGenerator, SegmentAnythingPredictor
from mmrapidnet.apis.cli import main_guard
from mmrapidnet.apis.latency import Call, interleave
from mmrapidnet.config.load import load_config
from mmrapidnet.deploy.export import export
from mmrapidnet.deploy.sam_graphs import PARTS
from mmrapidnet.models import SegmentAnything
from mmrapidnet.models.sam.segment_anything import STRIDE
from mmrapidnet.utils.env import has_bf16

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


def measure(
    cfg: Config,
    points_per_side: int,
    passing: float,
    rounds: int,
    precisions: Sequence[str],
) -> str:
    """Time the package, ours in eager and ours as exported files in turns.

    Args:
        cfg: The config of a `SegmentAnything` model.
        points_per_side: Points along each side of the image.
        passing: Which part of the masks is expected to be good.
        rounds: How often each is timed.
        precisions: Those of the exported files, the fastest last.

    Returns:
        Two tables in Markdown: automatic masks of an image, and one box from the
        embedding of the image to its mask in low resolution.
    """
    with tempfile.TemporaryDirectory() as folder:
        checkpoint, image = _write(cfg, Path(folder))
        ours = SegmentAnythingPredictor(cfg, checkpoint, device='cpu')
        exported = _export(cfg, checkpoint, image, Path(folder), precisions)
        pixels = cv2.imread(str(image))
        settings = dict(
            points_per_side=points_per_side,
            pred_iou_thresh=_find_threshold(ours, pixels, passing),
            stability_score_thresh=0.0,
        )
        best = list(exported)[-1]
        generators = {
            PACKAGE: _package_generator(ours, settings),
            OURS: AutomaticMaskGenerator(ours, **settings),
            best: AutomaticMaskGenerator(exported[best], **settings),
        }
        calls = {
            name: partial(generator.generate, pixels)
            for name, generator in generators.items()
        }
        automatic = _time(calls, 'automatic masks', rounds, warm_up=0)
        box = _time(_box_calls(ours, exported), 'one box', 5 * rounds, warm_up=1)
    return f'{automatic}\n\n{box}'


def _write(cfg: Config, folder: Path) -> tuple[Path, Path]:
    """A checkpoint of random weights and an image."""
    torch.manual_seed(0)
    checkpoint, image = folder / 'random.pth', folder / 'noise.png'
    torch.save({'state_dict': MODELS.build(cfg.model).state_dict()}, checkpoint)
    shape = (cfg.model.image_size, cfg.model.image_size, 3)
    noise = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    cv2.imwrite(str(image), noise)
    return checkpoint, image


def _export(
    cfg: Config,
    checkpoint: Path,
    image: Path,
    folder: Path,
    precisions: Sequence[str],
) -> dict[str, SegmentAnythingPredictor]:
    """Predictors of exported pairs."""
    predictors = {}
    for precision in precisions:
        files = {}
        for part in PARTS:
            files[part] = folder / f'{part}_{precision}.xml'
            export(
                cfg,
                str(checkpoint),
                format='openvino',
                out=files[part],
                part=part,
                precision=precision,
                image=str(image),
            )
        predictors[f'OpenVINO {precision}'] = SegmentAnythingPredictor(
            **files, threads=torch.get_num_threads()
        )
    return predictors


def _box_calls(
    ours: SegmentAnythingPredictor, exported: dict[str, SegmentAnythingPredictor]
) -> dict[str, Call]:
    """From the embedding to the mask of a box, without what is common to all."""
    model, size = ours.model, ours.model.image_size
    channels, edge = model.neck.out_channels, size // STRIDE
    embedding = torch.randn(1, channels, edge, edge)
    box = torch.tensor([[0.2, 0.3, 0.6, 0.7]]) * size

    @torch.no_grad()
    def call_package() -> None:
        sparse, dense = model.prompt_encoder(points=None, boxes=box, masks=None)
        position = model.prompt_encoder.get_dense_pe()
        model.mask_decoder(embedding, position, sparse, dense, multimask_output=False)

    @torch.no_grad()
    def call(model: Any) -> None:
        model.build_decoder(embedding)(boxes=box, multimask_output=False)

    models = {OURS: model, **{name: files.model for name, files in exported.items()}}
    calls = {name: partial(call, model) for name, model in models.items()}
    return {PACKAGE: call_package, **calls}


def _time(calls: dict[str, Call], what: str, rounds: int, warm_up: int) -> str:
    timings = interleave(calls, rounds, warm_up).timings
    base = timings[PACKAGE].median
    rows = [
        (name, f'{timing.median:.3f}', f'{timing.median / base:.2f}')
        for name, timing in timings.items()
    ]
    return make_table((what, 'seconds', 'ratio'), rows)


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
    parser.add_argument(
        '--size', type=int, help="of the encoder's input (default: the config's)"
    )
    parser.add_argument(
        '--tables',
        nargs='+',
        choices=('masks', 'encoders'),
        default=('masks', 'encoders'),
        help='what to measure (default: both)',
    )
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    compat.apply()
    cfg = load_config(args.config)
    if args.size:
        cfg.model.image_size = args.size
    if 'masks' in args.tables:
        precisions = ('fp32', 'bf16') if has_bf16() else ('fp32',)
        how = args.points_per_side, args.passing, args.rounds
        print(measure(cfg, *how, precisions))
    if 'encoders' in args.tables:
        encoders = build_encoders(cfg.model)
        print(measure_encoders(encoders, cfg.model.image_size, args.rounds))


if __name__ == '__main__':
    main_guard(main)
