"""Pictures of predictions, alike for the three libraries, and names for them."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import mmcv
import numpy as np
from mmengine.config import Config
from mmengine.registry import VISUALIZERS
from mmengine.structures import BaseDataElement

from mmrapidnet.utils.errors import UserError

# Scope of a config: the visualizer that its library draws with.
_VISUALIZERS = {
    'mmdet': 'DetLocalVisualizer',
    'mmseg': 'SegLocalVisualizer',
    'mmpretrain': 'UniversalVisualizer',
}
# Short edge in pixels that a picture gets for a class to be legible on it.
_LEGIBLE = 320


def name_outputs(images: Collection[str], suffix: str | None = None) -> dict[str, Path]:
    """Name a file for each image, no two alike: its path below the folder of them all.

    Args:
        images: Paths of different files.
        suffix: What the names end in. Defaults to None: as the images' do.

    Returns:
        Of each image a relative path.

    Examples:
        >>> names = name_outputs(['set/a/1.jpg', 'set/b/1.jpg'], '.png')
        >>> [path.as_posix() for path in names.values()]
        ['a/1.png', 'b/1.png']
        >>> names = name_outputs(['set/1.jpg', 'set/1.png'], '.png')
        >>> [path.as_posix() for path in names.values()]
        ['1.jpg.png', '1.png.png']
    """
    places = {image: os.path.abspath(image) for image in images}
    shared = os.path.commonpath([os.path.dirname(place) for place in places.values()])
    names = {i: Path(os.path.relpath(place, shared)) for i, place in places.items()}
    if suffix is None:
        return names
    short = {image: name.with_suffix(suffix) for image, name in names.items()}
    if len(set(short.values())) == len(short):
        return short
    return {i: name.with_name(name.name + suffix) for i, name in names.items()}


@contextmanager
def open_picture(out: Path) -> Iterator[str]:
    """Prepare the place of a picture, and say in one line if it cannot be written.

    Args:
        out: The file; ``.png`` is added if there are no pictures of its suffix.

    Yields:
        The file to write.

    Raises:
        UserError: If it cannot be written.
    """
    if not cv2.haveImageWriter(str(out)):
        out = out.with_name(f'{out.name}.png')
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        yield str(out)
    except OSError as error:
        raise UserError(f'{out} cannot be written: {error}') from error


class PredictionDrawer:
    """Draws predictions on the image files that they are of.

    Args:
        cfg: A config of mmdet, mmsegmentation or mmpretrain; its visualizer is used if
            it is of the library's kind.
        labels: ``classes`` and ``palette``, as of a data set's ``metainfo``; both may
            be missing.
        score_thr: Least score of a detection to be drawn. Defaults to 0.3.
    """

    def __init__(
        self, cfg: Config, labels: dict[str, Any], score_thr: float = 0.3
    ) -> None:
        self.scope = cfg.default_scope
        self.score_thr = score_thr
        self.visualizer = _build_visualizer(cfg)
        self.visualizer.dataset_meta = _complete_labels(labels, self.scope)

    def draw(
        self, image: str, sample: BaseDataElement, out: Path, truth: bool = False
    ) -> None:
        """Draw a prediction and write the picture.

        Args:
            image: The image file.
            sample: What the model predicts for it, in pixels of the file.
            out: The file to write, as for `open_picture`.
            truth: Whether to draw the ground truth, too. Defaults to False.

        Raises:
            UserError: If it cannot be written.
        """
        pixels = mmcv.imread(image, channel_order='rgb')
        sample = sample.cpu()
        with open_picture(out) as file:
            self._draw(pixels, sample, file, truth)

    def _draw(
        self, pixels: np.ndarray, sample: BaseDataElement, out: str, truth: bool
    ) -> None:
        if self.scope == 'mmpretrain':
            short = max(min(pixels.shape[:2]), _LEGIBLE)
            self.visualizer.visualize_cls(
                pixels, sample, draw_gt=truth, resize=short, out_file=out
            )
            return
        options = dict(pred_score_thr=self.score_thr) if self.scope == 'mmdet' else {}
        self.visualizer.add_datasample(
            'image', pixels, sample, draw_gt=truth, out_file=out, **options
        )


def _build_visualizer(cfg: Config) -> Any:
    """The config's own, without what it stores elsewhere; else the library's."""
    settings = dict(cfg.get('visualizer') or {})
    settings.pop('_scope_', None)  # of a config that builds on another library's
    with VISUALIZERS.switch_scope_and_registry(cfg.default_scope) as registry:
        usual = registry.get(_VISUALIZERS[cfg.default_scope])
        kind = settings.pop('type', usual)
        kind = registry.get(kind) if isinstance(kind, str) else kind
    if kind is None or not issubclass(kind, usual):
        kind, settings = usual, {}
    # Not by the registry, which gives back another one of the same name.
    return kind(**{**settings, 'vis_backends': None, 'name': 'drawing'})


def _complete_labels(labels: dict[str, Any], scope: str) -> dict[str, Any]:
    """Names and colours, as the libraries need them to draw."""
    classes, palette = labels.get('classes'), labels.get('palette')
    if scope == 'mmseg' and not classes:
        classes = [str(number) for number in range(256)]
    if isinstance(palette, str) or len(palette or ()) < len(classes or ()):
        palette = 'random'
        if scope == 'mmseg':  # which draws colours only; the same as its data sets
            random = np.random.RandomState(42)
            palette = random.randint(0, 255, size=(len(classes), 3)).tolist()
    if not isinstance(palette, str) and palette is not None:
        palette = [tuple(colour) for colour in palette]
    return {'classes': classes, 'palette': palette}
