"""Run an exported file, whatever its format."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import nn

from mmrapidnet.deploy import postprocess
from mmrapidnet.deploy.formats import open_session
from mmrapidnet.deploy.image_masks import finish_queries, resize_masks
from mmrapidnet.deploy.isolated import IsolatedSession
from mmrapidnet.deploy.metadata import channels_of
from mmrapidnet.deploy.postprocess import Size
from mmrapidnet.utils.errors import UserError

if TYPE_CHECKING:
    from mmrapidnet.deploy.graphs import Graph

Outputs = dict[str, np.ndarray]


def to_batch(*images: np.ndarray) -> np.ndarray:
    """Lay images of one size out as sessions take them.

    Args:
        *images: (H, W, C), uint8, as OpenCV and mmcv read files.

    Returns:
        (N, C, H, W), float32, in one piece.
    """
    batch = np.stack(images).transpose(0, 3, 1, 2)
    return np.ascontiguousarray(batch, dtype=np.float32)


class ExportedModel:
    """An exported file as a function of an image.

    Args:
        path: The file, as ``tools/export.py`` wrote it.
        threads: Number of threads. Defaults to None: as the runtime likes.
        size: Height and width that all images will have, if the runtime is to make
            use of it. Defaults to None: any that the file takes.
        isolated: Whether it runs in a process of its own: a file that was not run on
            this machine before may end the process. Defaults to False.

    Raises:
        UserError: If there is no such file, it is not what its suffix says, was not
            written by us or cannot be run on this system.

    Attributes:
        path: The file.
        metadata: What it says of itself: ``kind``, ``classes``, ``input``,
            ``outputs``, ``precision``, ``config``, ...

    Examples:
        From a picture to labelled pixels or objects, with no config and no model::

            model = ExportedModel('semfpn.onnx')
            image = cv2.resize(cv2.imread('street.jpg'), (683, 512))
            labels = model.predict(image)['labels']
            names = [model.metadata['classes'][i] for i in np.unique(labels)]
    """

    def __init__(
        self,
        path: str | Path,
        threads: int | None = None,
        size: tuple[int, int] | None = None,
        isolated: bool = False,
    ) -> None:
        self.path = Path(path)
        open_file = IsolatedSession if isolated else open_session
        self._session = open_file(self.path, threads=threads, size=size)
        self.metadata: dict[str, Any] = self._session.metadata

    def __call__(self, *images: np.ndarray) -> Outputs:
        """Run the file on an image, or on several of one size.

        Args:
            *images: (H, W, C), uint8, as OpenCV and mmcv read files: BGR, or with the
                channels that the file takes.

        Returns:
            The outputs by name, those of a batch with a batch of as many.

        Raises:
            UserError: If it is no such image, or not of a size that the file takes, or
                there are more than it takes.
        """
        channels = channels_of(self.metadata)
        for image in images:
            if image.ndim != 3 or image.shape[2] != channels or image.dtype != np.uint8:
                order = ', BGR' if channels == 3 else ''
                raise UserError(
                    f'an image of {image.dtype} {image.shape} was given to {self.path},'
                    f' which takes uint8 (height, width, {channels}){order}'
                )
        shapes = {f'{image.shape[0]}x{image.shape[1]}' for image in images}
        if len(shapes) > 1:
            raise UserError(
                f'images of {" and ".join(sorted(shapes))} were given to {self.path} '
                'at once: give images of one size, or one after another'
            )
        return self._session(to_batch(*images))

    def predict(
        self,
        image: np.ndarray,
        size: Size | None = None,
        scale: tuple[float, float] | None = None,
    ) -> Outputs:
        """Run the file on an image and make its outputs what the libraries predict.

        Args:
            image: (H, W, C), uint8, as OpenCV and mmcv read files: BGR, or with the
                channels that the file takes.
            size: Height and width of the picture that the image was resized from,
                which the results are to fit. Defaults to None: the image's.
            scale: What its width and height were multiplied with, which is how the
                boxes of a detector are taken back. Defaults to None: the image's
                width and height over those of ``size``.

        Returns:
            The results by name. A detector gives ``boxes`` (K, 4) xyxy in pixels, all
            0 if its model has none,
            ``scores`` (K,), ``labels`` (K,) and, if its model has masks, ``masks``
            (K, *size), bool; one with stuff ``panoptic`` (*size), see
            `mmrapidnet.deploy.postprocess.fuse_panoptic`; a segmenter ``labels``
            (*size), int64; a classifier ``scores`` (classes,), which sum to 1, and
            ``label`` ().

        Raises:
            UserError: As for a call; also if the file holds only a part of a model.
        """
        return self.predict_all([image], [size], [scale])[0]

    def predict_all(
        self,
        images: Sequence[np.ndarray],
        sizes: Sequence[Size | None],
        scales: Sequence[tuple[float, float] | None],
    ) -> list[Outputs]:
        """Do as `predict` does, with images of one size at once if the file takes it.

        Args:
            images: As for `predict`.
            sizes: As for `predict`, of each.
            scales: As for `predict`, of each.

        Returns:
            The results of each.

        Raises:
            UserError: As for `predict`.
        """
        self._check_predicts()
        found: list[Any] = [None] * len(images)
        for numbers in self._group(images):
            outputs = self(*(images[number] for number in numbers))
            for place, number in enumerate(numbers):
                one = outputs
                if len(numbers) > 1:
                    one = {name: v[place, None] for name, v in outputs.items()}
                height, width = images[number].shape[:2]
                size = sizes[number] or (height, width)
                found[number] = self._finish(one, (height, width), size, scales[number])
        return found

    def _check_predicts(self) -> None:
        """Raise a UserError unless the file holds a whole model."""
        kind = self.metadata['kind']
        if kind not in ('detector', 'segmenter', 'classifier'):
            raise UserError(
                f'{self.path} holds the {kind} part of a model: its outputs are '
                f'{", ".join(self.metadata["outputs"])}, there is nothing to predict'
            )
        if 'settings' not in self.metadata:
            raise UserError(
                f'{self.path} does not say how its outputs become predictions: export '
                'the checkpoint again'
            )

    def _group(self, images: Sequence[np.ndarray]) -> list[list[int]]:
        """Numbers of the images that the file takes at once."""
        if self.metadata['input']['batch']:
            return [[number] for number in range(len(images))]
        groups: dict[tuple[int, ...], list[int]] = {}
        for number, image in enumerate(images):
            groups.setdefault(image.shape, []).append(number)
        return list(groups.values())

    def _finish(
        self,
        outputs: Outputs,
        shape: Size,
        size: Size,
        scale: tuple[float, float] | None,
    ) -> Outputs:
        """The results of one image of a shape, for the picture it was resized from."""
        kind, settings = self.metadata['kind'], self.metadata['settings']
        if kind == 'detector':
            return _finish_detector(outputs, shape, size, scale, **settings)
        if kind == 'segmenter':
            return _finish_segmenter(outputs, [shape, size], **settings)
        scores = postprocess.softmax(outputs['logits'][0])
        return {'scores': scores, 'label': scores.argmax()}


def read_settings(model: nn.Module, graph: Graph) -> dict[str, Any]:
    """Read off a model what `ExportedModel.predict` needs beside the outputs.

    Args:
        model: A model of mmdet, mmseg or mmpretrain.
        graph: Its graph.

    Returns:
        The settings, to be written into the file's metadata as ``settings``.

    Raises:
        UserError: If the model is tested in windows that slide over the image.
    """
    if graph.kind == 'detector':
        return graph.module.detector.settings
    if graph.kind == 'segmenter':
        if model.test_cfg.get('mode', 'whole') != 'whole':
            raise UserError(
                f'model.test_cfg.mode is {model.test_cfg.mode}: an exported file sees '
                "the whole image, as with test_cfg=dict(mode='whole')"
            )
        return {
            'align_corners': model.align_corners,
            'threshold': model.decode_head.threshold,
        }
    return {}


def _finish_detector(
    outputs,
    shape,
    size,
    scale,
    mask_threshold=0.5,
    mask_resizing=None,
    query_stride=None,
    **fusion,
) -> Outputs:
    found = {**outputs, 'boxes': _finish_boxes(outputs, shape, size, scale)}
    if 'masks' in outputs:
        found['masks'] = postprocess.paste_masks(
            outputs['masks'], found['boxes'], size, mask_threshold
        )
    if query_stride:
        logits = found.pop('mask_logits')
        found |= finish_queries(logits, found['scores'], shape, size, query_stride)
    elif 'mask_logits' in outputs:
        logits = found.pop('mask_logits')
        found['masks'] = resize_masks(
            logits, shape, size, scale, threshold=mask_threshold, **mask_resizing
        )
    if 'semantic' in outputs:
        logits = found.pop('semantic')[0]
        found['panoptic'] = _finish_panoptic(found, logits, shape, size, **fusion)
    return found


def _finish_boxes(outputs, shape, size, scale) -> np.ndarray:
    if 'boxes' not in outputs:  # mmdet's are 0 where there are none
        return np.zeros((len(outputs['scores']), 4), np.float32)
    scale = scale or (shape[1] / size[1], shape[0] / size[0])
    return outputs['boxes'] / np.float32([*scale, *scale])


def _finish_panoptic(
    found, logits, shape, size, divisor, things, mask_overlap, stuff_area_limit
) -> np.ndarray:
    padded = tuple(-(-edge // divisor) * divisor for edge in shape)
    stuff = postprocess.label_map(logits, [padded, size], crop=shape) + things
    return postprocess.fuse_panoptic(
        stuff,
        found['masks'],
        found['labels'],
        classes=(things, things + len(logits) - 1),
        mask_overlap=mask_overlap,
        stuff_area_limit=stuff_area_limit,
    )


def _finish_segmenter(outputs, sizes, align_corners, threshold) -> Outputs:
    logits = outputs['logits'][0]
    if len(logits) == 1:
        labels = postprocess.foreground_map(logits, sizes, threshold, align_corners)
    else:
        labels = postprocess.label_map(logits, sizes, align_corners)
    return {'labels': labels}
