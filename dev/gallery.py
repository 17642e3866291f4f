"""Held-out images beside their ground truth and what models predict, in one picture.

The images are chosen by number, so that nobody chooses them by eye.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import DATASETS, DefaultScope
from mmengine.structures import BaseDataElement
from mmengine.visualization import Visualizer

from dev.model_zoo.contact_sheet import draw_contact_sheet
from dev.models_argument import add_models_argument, pair_models
from dev.subprocess_steps import print_now, relpath
from mmrapidnet import compat
from mmrapidnet.apis.cli import main_guard
from mmrapidnet.checkpoints.state_dict import read_checkpoint
from mmrapidnet.config.libraries import require_library
from mmrapidnet.config.load import load_config
from mmrapidnet.datasets.check.precheck import check_datasets
from mmrapidnet.deploy.loading import load_model
from mmrapidnet.deploy.preprocess import spread
from mmrapidnet.engine.visualization import open_picture
from mmrapidnet.utils.env import find_device
from mmrapidnet.utils.errors import UserError

IMAGES = 3
WIDTH = 300
# Least score of a detection that is shown, as in tools/infer.py.
_SCORE = 0.3
_ALPHA = 0.6


def draw_gallery(
    models: Sequence[tuple[str, str]],
    out: Path,
    indices: Sequence[int] | None = None,
    width: int = WIDTH,
) -> None:
    """Draw what models predict for images of their test sets.

    Args:
        models: Path of a config and of its checkpoint, each, of a detector or a
            segmenter; they are shown one below the other.
        out: The picture to write, of the format that its suffix says.
        indices: Numbers of images in each test set. Defaults to None: three, spread
            evenly.
        width: Width in pixels of each of the three columns. Defaults to 300.

    Raises:
        UserError: If a data set lacks such an image or is missing, a checkpoint does
            not fit, a model is of another kind, or the picture cannot be written.
    """
    tiles = []
    for config, checkpoint in models:
        cfg = load_config(config)
        print_now(f'{Path(config).stem}, {checkpoint}')
        tiles += _draw_titles(Path(config).stem, width)
        for image, *samples in _predict(cfg, checkpoint, indices):
            tiles += [image, *samples]
    with open_picture(out) as file:
        draw_contact_sheet(tiles, file, columns=3, width=width)
    print_now(f'written to {relpath(out)}')


def _predict(
    cfg: Config, checkpoint: str, indices: Sequence[int] | None
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """An image, its ground truth and the prediction, (H, W, 3), BGR, at a time."""
    scope = require_library(cfg)
    if scope not in ('mmdet', 'mmseg'):
        raise UserError(f'{cfg.filename}: give a detector or a segmenter')
    check_datasets(cfg, ['test_dataloader'])
    model = load_model(cfg, read_checkpoint(checkpoint), checkpoint)
    model = revert_sync_batchnorm(model).to(find_device(None))
    draw = _draw_objects if scope == 'mmdet' else _draw_labels
    with DefaultScope.overwrite_default_scope(scope), torch.no_grad():
        dataset = DATASETS.build(cfg.test_dataloader.dataset)
        for number in _choose(indices, len(dataset), cfg.filename):
            data = dataset[number]
            (sample,) = model.test_step({key: [value] for key, value in data.items()})
            image = _restore(data['inputs'], sample.ori_shape)
            colours = dataset.metainfo['palette']
            truth, prediction = (
                draw(image, sample.cpu(), kind, colours) for kind in ('gt', 'pred')
            )
            yield image, truth, prediction


def _choose(indices: Sequence[int] | None, total: int, config: str) -> Sequence[int]:
    if indices is None:
        return spread(IMAGES, total)
    beyond = [number for number in indices if not 0 <= number < total]
    if beyond:
        raise UserError(
            f'--indices {beyond[0]}: the test set of {config} has images 0 to '
            f'{total - 1}'
        )
    return indices


def _restore(inputs: torch.Tensor, size: tuple[int, int]) -> np.ndarray:
    """The image as the model sees it, in the size of the file."""
    image = np.ascontiguousarray(inputs.numpy().transpose(1, 2, 0))
    return cv2.resize(image, size[::-1], interpolation=cv2.INTER_AREA)


def _draw_labels(
    image: np.ndarray, sample: BaseDataElement, kind: str, palette: Sequence
) -> np.ndarray:
    labels = sample.get(f'{kind}_sem_seg').data.squeeze(0).numpy()
    classes = [number for number in np.unique(labels) if number < len(palette)]
    masks = np.stack([labels == number for number in classes])
    return _paint(image, masks, [tuple(palette[number]) for number in classes])


def _draw_objects(
    image: np.ndarray, sample: BaseDataElement, kind: str, palette: Sequence
) -> np.ndarray:
    """Objects by class, those of a single class each in a colour of its own."""
    from mmdet.visualization import get_palette

    objects = sample.get(f'{kind}_instances')
    if kind == 'pred':
        objects = objects[objects.scores >= _SCORE]
    if not len(objects):
        return image
    colours = [tuple(palette[number]) for number in objects.labels]
    if len(palette) == 1:
        colours = get_palette('random', len(objects))
    if 'masks' not in objects:
        boxes = getattr(objects.bboxes, 'tensor', objects.bboxes)
        return _paint(image, None, colours, boxes)
    masks = objects.masks
    masks = masks.numpy() if torch.is_tensor(masks) else masks.to_ndarray()
    return _paint(image, masks.astype(bool), colours)


def _paint(
    image: np.ndarray,
    masks: np.ndarray | None,
    colours: Sequence[tuple[int, int, int]],
    boxes: torch.Tensor | None = None,
) -> np.ndarray:
    visualizer = Visualizer()
    visualizer.set_image(image[..., ::-1])
    if masks is not None:
        visualizer.draw_binary_masks(masks, list(colours), _ALPHA)
    else:
        visualizer.draw_bboxes(boxes, edge_colors=list(colours))
    return np.ascontiguousarray(visualizer.get_image()[..., ::-1])


def _draw_titles(model: str, width: int) -> list[np.ndarray]:
    """What stands above the three columns, the model's name below the last title."""
    titles = []
    for lines in (['image'], ['ground truth'], ['prediction', model]):
        tile = np.full((40, width, 3), 255, np.uint8)
        for row, text in enumerate(lines):
            place, size = (2, 15 + 18 * row), 0.5 - 0.08 * row
            font = cv2.FONT_HERSHEY_SIMPLEX
            cv2.putText(tile, text, place, font, size, (40, 40, 40), 1, cv2.LINE_AA)
        titles.append(tile)
    return titles


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    add_models_argument(parser)
    parser.add_argument('--out', type=Path, required=True, help='the picture to write')
    parser.add_argument(
        '--indices',
        nargs='+',
        type=int,
        help=f'numbers of images in the test set (default: {IMAGES}, spread evenly)',
    )
    parser.add_argument(
        '--width', type=int, default=WIDTH, help='of a column (default: %(default)s)'
    )
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    compat.apply()
    draw_gallery(pair_models(args.models), args.out, args.indices, args.width)


if __name__ == '__main__':
    main_guard(main)
