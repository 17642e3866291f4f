"""Run an exported file, whatever its format."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from mmrapidnet.deploy import postprocess
from mmrapidnet.deploy.formats import open_session
from mmrapidnet.deploy.isolated import IsolatedSession
from mmrapidnet.deploy.metadata import channels_of
from mmrapidnet.utils.errors import UserError


def to_batch(image: np.ndarray) -> np.ndarray:
    """Lay an image out as sessions take it.

    Args:
        image: (H, W, C), uint8, as OpenCV and mmcv read files.

    Returns:
        (1, C, H, W), float32, in one piece.
    """
    return np.ascontiguousarray(image.transpose(2, 0, 1)[None], dtype=np.float32)


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

    def __call__(self, image: np.ndarray) -> dict[str, np.ndarray]:
        """Run the file on an image.

        Args:
            image: (H, W, C), uint8, as OpenCV and mmcv read files: BGR, or with the
                channels that the file takes.

        Returns:
            The outputs by name, those of a batch with a batch of one.

        Raises:
            UserError: If it is no such image, or not of a size that the file takes.
        """
        channels = channels_of(self.metadata)
        if image.ndim != 3 or image.shape[2] != channels or image.dtype != np.uint8:
            order = ', BGR' if channels == 3 else ''
            raise UserError(
                f'an image of {image.dtype} {image.shape} was given to {self.path}, '
                f'which takes uint8 (height, width, {channels}){order}'
            )
        return self._session(to_batch(image))

    def predict(
        self,
        image: np.ndarray,
        size: tuple[int, int] | None = None,
        scale: tuple[float, float] | None = None,
    ) -> dict[str, np.ndarray]:
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
            The results by name. A detector gives ``boxes`` (K, 4) xyxy in pixels,
            ``scores`` (K,), ``labels`` (K,) and ``masks`` (K, *size), bool; a
            segmenter ``labels`` (*size), int64; a classifier ``scores`` (classes,),
            which sum to 1, and ``label`` ().

        Raises:
            UserError: As for a call; also if the file holds only a part of a model.
        """
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
        height, width = image.shape[:2]
        size = size or (height, width)
        outputs, settings = self(image), self.metadata['settings']
        if kind == 'detector':
            scale = scale or (width / size[1], height / size[0])
            return _finish_detector(outputs, size, scale, **settings)
        if kind == 'segmenter':
            return _finish_segmenter(outputs, [(height, width), size], **settings)
        scores = postprocess.softmax(outputs['logits'][0])
        return {'scores': scores, 'label': scores.argmax()}


def read_settings(model: nn.Module, kind: str) -> dict[str, Any]:
    """Read off a model what `ExportedModel.predict` needs beside the outputs.

    Args:
        model: A model of mmdet, mmseg or mmpretrain.
        kind: The kind of its graph.

    Returns:
        The settings, to be written into the file's metadata as ``settings``.

    Raises:
        UserError: If the model is tested in windows that slide over the image.
    """
    if kind == 'detector':
        return {'mask_threshold': model.roi_head.test_cfg.mask_thr_binary}
    if kind == 'segmenter':
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


def _finish_detector(outputs, size, scale, mask_threshold) -> dict[str, np.ndarray]:
    boxes = outputs['boxes'] / np.float32([*scale, *scale])
    masks = postprocess.paste_masks(outputs['masks'], boxes, size, mask_threshold)
    return {**outputs, 'boxes': boxes, 'masks': masks}


def _finish_segmenter(
    outputs, sizes, align_corners, threshold
) -> dict[str, np.ndarray]:
    logits = outputs['logits'][0]
    if len(logits) == 1:
        labels = postprocess.foreground_map(logits, sizes, threshold, align_corners)
    else:
        labels = postprocess.label_map(logits, sizes, align_corners)
    return {'labels': labels}
