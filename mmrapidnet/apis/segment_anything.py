"""Segment anything in an image: what points, boxes and masks mean."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from torch import Tensor

from mmrapidnet.apis.sam_prompts import check_prompts
from mmrapidnet.checkpoints.state_dict import read_checkpoint
from mmrapidnet.config.load import load_config
from mmrapidnet.deploy.loading import check_segments_anything, load_sam
from mmrapidnet.deploy.sam_files import ExportedDecoder, ExportedSegmentAnything
from mmrapidnet.models.sam import SegmentAnything
from mmrapidnet.models.sam.image_decoder import ImageDecoder
from mmrapidnet.models.sam.segment_anything import (
    CHUNK,
    MASK_THRESHOLD,
    upscale_masks,
)
from mmrapidnet.utils.env import find_device
from mmrapidnet.utils.errors import UserError

IMAGE_FORMATS = ('RGB', 'BGR')

Arrays = tuple[np.ndarray, np.ndarray, np.ndarray]


class SegmentAnythingPredictor:
    """Gives the masks of prompts on one image, as SAM's own predictor does.

    Args:
        config: The config of a `SegmentAnything` model, or its path.
        checkpoint: Path of its weights.
        device: Such as 'cpu' or 'cuda:0'. Defaults to None: a GPU if there is one.
        encoder: Instead of config and checkpoint, an exported encoder; it runs on the
            CPU, in a process of its own.
        decoder: With it, an exported decoder.
        threads: Number of threads of exported files. Defaults to None: as their
            runtime likes.

    Raises:
        UserError: If neither or both ways are given, the config is of another model,
            the checkpoint cannot be read or does not fill the model, there is no such
            device, the exported files cannot be run or do not fit each other, or
            ``segment-anything`` is not installed.
    """

    def __init__(
        self,
        config: str | Path | Config | None = None,
        checkpoint: str | Path | None = None,
        device: str | None = None,
        encoder: str | Path | None = None,
        decoder: str | Path | None = None,
        threads: int | None = None,
    ) -> None:
        given = [x is not None for x in (config, checkpoint, encoder, decoder)]
        if given == [True, True, False, False]:
            self.model = _load_model(config, checkpoint, device)
        elif given == [False, False, True, True]:
            _check_device(device)
            self.model = ExportedSegmentAnything(encoder, decoder, threads)
        else:
            raise UserError(
                'give either a config and a checkpoint, or an exported encoder and an '
                'exported decoder'
            )
        self.reset_image()

    def reset_image(self) -> None:
        """Forget the image."""
        self._image: ImageDecoder | ExportedDecoder | None = None
        self._original_size = self._input_size = (0, 0)

    @torch.no_grad()
    def set_image(self, image: np.ndarray, image_format: str = 'RGB') -> None:
        """Compute the embedding of the image that prompts are about.

        Args:
            image: (H, W, 3), uint8.
            image_format: 'RGB' or 'BGR'. Defaults to 'RGB'.

        Raises:
            UserError: If it is no such image, or so small or thin that nothing is left
                of it.
        """
        if image_format not in IMAGE_FORMATS:
            raise UserError(
                f"image_format='{image_format}': choose {' or '.join(IMAGE_FORMATS)}"
            )
        _check_image(image)
        self.reset_image()
        self._original_size = image.shape[:2]
        if image_format == 'BGR':
            image = image[..., ::-1]
        self._image, self._input_size = self.model.encode_image(image)

    def get_image_embedding(self) -> Tensor:
        """The embedding of the image, (1, C, h, w).

        Raises:
            UserError: If no image is set.
        """
        return self._decoder.embedding

    def predict(
        self,
        point_coords: np.ndarray | None = None,
        point_labels: np.ndarray | None = None,
        box: np.ndarray | None = None,
        mask_input: np.ndarray | None = None,
        multimask_output: bool = True,
        return_logits: bool = False,
    ) -> Arrays:
        """Predict the masks of one object of the image.

        Args:
            point_coords: (N, 2), x and y in pixels of the image.
            point_labels: (N,), 1 for a point of the object, 0 for one outside of it.
            box: (4,), x1, y1, x2, y2 in pixels of the image.
            mask_input: (1, 4 h, 4 w), logits that an earlier call has given.
            multimask_output: Whether to give three masks, such as a part and the whole,
                or one. Defaults to True.
            return_logits: Whether masks are logits instead of booleans. Defaults to
                False.

        Returns:
            The masks, (3 or 1, H, W); the IoU that the model expects of each; their
            logits in low resolution, (3 or 1, 4 h, 4 w).

        Raises:
            UserError: As `predict_batch`.
        """
        masks, ious, logits = self.predict_batch(
            None if point_coords is None else [point_coords],
            None if point_labels is None else [point_labels],
            None if box is None else [np.ravel(box)],
            None if mask_input is None else [mask_input],
            multimask_output,
            return_logits,
        )
        return masks[0], ious[0], logits[0]

    def predict_batch(
        self,
        point_coords: np.ndarray | None = None,
        point_labels: np.ndarray | None = None,
        boxes: np.ndarray | None = None,
        mask_input: np.ndarray | None = None,
        multimask_output: bool = True,
        return_logits: bool = False,
    ) -> Arrays:
        """Predict the masks of B objects of the image in one call.

        Args:
            point_coords: (B, N, 2), x and y in pixels of the image.
            point_labels: (B, N), 1 for a point of the object, 0 for one outside of it,
                -1 for none, where an object has fewer points.
            boxes: (B, 4), x1, y1, x2, y2 in pixels of the image.
            mask_input: (B, 1, 4 h, 4 w), logits that an earlier call has given.
            multimask_output: As for `predict`. Defaults to True.
            return_logits: As for `predict`. Defaults to False.

        Returns:
            The masks, (B, 3 or 1, H, W); the IoU that the model expects of each,
            (B, 3 or 1); their logits in low resolution, (B, 3 or 1, 4 h, 4 w).

        Raises:
            UserError: If no image is set, there is no prompt, a prompt is outside of
                the image, a point has no label, a box has no size, or the shapes do
                not fit.
        """
        logits, ious = self.predict_logits(
            point_coords, point_labels, boxes, mask_input, multimask_output
        )
        parts = []
        for part in logits.split(CHUNK):
            masks = self.upscale(part)
            parts.append(masks if return_logits else masks > MASK_THRESHOLD)
        return tuple(x.cpu().numpy() for x in (torch.cat(parts), ious, logits))

    @torch.no_grad()
    def predict_logits(
        self,
        point_coords: np.ndarray | None = None,
        point_labels: np.ndarray | None = None,
        boxes: np.ndarray | None = None,
        mask_input: np.ndarray | None = None,
        multimask_output: bool = True,
    ) -> tuple[Tensor, Tensor]:
        """What `predict_batch` gives, in low resolution and on the device.

        Args:
            point_coords: As for `predict_batch`.
            point_labels: As for `predict_batch`.
            boxes: As for `predict_batch`.
            mask_input: As for `predict_batch`.
            multimask_output: As for `predict`. Defaults to True.

        Returns:
            The logits of the masks, (B, 3 or 1, 4 h, 4 w), and the IoU that the model
            expects of each, (B, 3 or 1).

        Raises:
            UserError: As `predict_batch`.
        """
        decoder = self._decoder
        side = self.model.image_size // 4
        points, labels, boxes, masks = check_prompts(
            point_coords, point_labels, boxes, mask_input, self._original_size, side
        )
        size, transform = self._original_size, self.model.transform
        if points is not None:
            points = transform.apply_coords(points, size)
        if boxes is not None:
            boxes = transform.apply_boxes(boxes, size)
        device = decoder.embedding.device
        return decoder(
            *(
                None if x is None else torch.as_tensor(x, dtype=dtype, device=device)
                for x, dtype in (
                    (points, torch.float32),
                    (labels, torch.int32),
                    (boxes, torch.float32),
                    (masks, torch.float32),
                )
            ),
            multimask_output=multimask_output,
        )

    @property
    def _decoder(self) -> ImageDecoder | ExportedDecoder:
        if self._image is None:
            raise UserError('no image is set: call set_image(image) before prompts')
        return self._image

    @torch.no_grad()
    def upscale(self, logits: Tensor) -> Tensor:
        """Bring masks to the size of the image.

        Args:
            logits: (B, M, 4 h, 4 w).

        Returns:
            (B, M, H, W), logits.
        """
        return upscale_masks(
            logits, self.model.image_size, self._input_size, self._original_size
        )


def _load_model(
    config: str | Path | Config, checkpoint: str | Path, device: str | None
) -> SegmentAnything:
    cfg = config if isinstance(config, Config) else load_config(str(config))
    check_segments_anything(cfg)
    found = find_device(device)
    content = read_checkpoint(str(checkpoint))
    return load_sam(cfg, content, str(checkpoint)).to(found)


def _check_device(device: str | None) -> None:
    if device not in (None, 'cpu'):
        raise UserError(
            f'--device {device}: exported files run on the CPU; leave --device out'
        )


def _check_image(image: Any) -> None:
    if not isinstance(image, np.ndarray):
        raise UserError(
            f'the image is a {type(image).__name__}: give a numpy array (H, W, 3)'
        )
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise UserError(
            f'the image has shape {image.shape} and type {image.dtype}: give '
            '(H, W, 3) and uint8'
        )
