"""From logits of the whole image to masks of a picture, equal to mmdet's own."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from mmrapidnet.deploy.postprocess import Size, resize


def resize_masks(
    logits: np.ndarray,
    shape: Size,
    size: Size,
    scale: tuple[float, float] | None,
    head: str,
    strides: Sequence[int],
    threshold: float = 0.5,
) -> np.ndarray:
    """Make masks of a picture from logits of the image that it was resized to.

    RTMDet-Ins resizes the logits, SOLOv2 their probabilities, and CondInst these from
    its second stride on, aligned at the corners of the cells.  One mask is resized at a
    time.

    Args:
        logits: (K, h, w), of the image and its padding on the right and below.
        shape: Height and width of the image without the padding.
        size: Height and width of the picture.
        scale: What the picture's width and height were multiplied with, from which
            RTMDet-Ins takes the size of the padded picture, as mmdet does: the first
            for the height, the second for the width. None: those of ``shape`` over
            those of ``size``, each for its own.
        head: 'RTMDetInsHead', 'CondInstMaskHead' or 'SOLOV2Head'.
        strides: That of the logits; of CondInst then that of the probabilities.
        threshold: Probability above which a pixel is the object's. Defaults to 0.5.

    Returns:
        (K, *size), bool.

    Examples:
        >>> logits = np.array([[[-2.0, 2.0]]], dtype=np.float32)
        >>> resize_masks(logits, (2, 4), (2, 3), (1.0, 1.0), 'RTMDetInsHead', [2])
        array([[[False, False,  True],
                [False, False,  True]]])
    """
    scale = scale or tuple(now / then for now, then in zip(shape, size))
    masks = np.zeros((len(logits), *size), dtype=bool)
    for mask, values in zip(masks, torch.from_numpy(np.float32(logits))):
        if head == 'RTMDetInsHead':
            values = _enlarge(values, strides[0])
            padded = tuple(ceil(n * (1 / s)) for n, s in zip(values.shape, scale))
            values = resize(values, [padded])[: size[0], : size[1]].sigmoid()
        else:
            values = _enlarge_probabilities(values, head, strides)
            values = resize(values[: shape[0], : shape[1]], [size])
        height, width = values.shape  # by that scale it may end before the picture
        mask[:height, :width] = values > threshold
    return masks


def finish_queries(
    logits: np.ndarray, scores: np.ndarray, shape: Size, size: Size, stride: int
) -> dict[str, np.ndarray]:
    """Make objects in a picture of Mask2Former's queries.

    mmdet multiplies the score of the class with the mean probability of the mask's
    pixels, and takes the box from the mask: both in the picture.

    Args:
        logits: (K, h, w), of the image and its padding on the right and below.
        scores: Those of the classes, (K,).
        shape: Height and width of the image without the padding.
        size: Height and width of the picture.
        stride: That of the logits.

    Returns:
        ``masks`` (K, *size), bool; ``boxes`` (K, 4), float32, all 0 of an empty mask;
        ``scores`` (K,).

    Examples:
        >>> logits = np.array([[[-20.0, 20.0]]], dtype=np.float32)
        >>> found = finish_queries(logits, np.float32([0.5]), (2, 4), (2, 4), 2)
        >>> found['boxes'], found['scores'].round(3)
        (array([[2., 0., 4., 2.]], dtype=float32), array([0.5], dtype=float32))
    """
    masks = np.zeros((len(logits), *size), dtype=bool)
    boxes = np.zeros((len(logits), 4), dtype=np.float32)
    scores = scores.copy()
    for number, values in enumerate(torch.from_numpy(np.float32(logits))):
        padded = tuple(side * stride for side in values.shape)
        values = resize(values, [padded, size], crop=shape)
        mask = values > 0
        masks[number], boxes[number] = mask, _bound(mask)
        scores[number] *= (values.sigmoid() * mask).sum() / (mask.sum() + 1e-6)
    return {'masks': masks, 'boxes': boxes, 'scores': scores}


def _bound(mask: Tensor) -> list[int]:
    """The box, xyxy, around a mask; all 0 if it is empty."""
    down, across = (mask.any(dim=axis).nonzero() for axis in (1, 0))
    if not len(down):
        return [0, 0, 0, 0]
    (left, right), (top, bottom) = (
        (int(places[0]), int(places[-1]) + 1) for places in (across, down)
    )
    return [left, top, right, bottom]


def _enlarge(values: Tensor, factor: int) -> Tensor:
    """Enlarge a map, (h, w)."""
    size = tuple(side * factor for side in values.shape)
    return resize(values, [size])


def _enlarge_probabilities(values: Tensor, head: str, strides: Sequence[int]) -> Tensor:
    """Make logits, (h, w), probabilities of the padded image's pixels."""
    if head == 'SOLOV2Head':
        return _enlarge(values.sigmoid(), strides[0])
    values = _enlarge_aligned(values, strides[0] // strides[-1]).sigmoid()
    return _enlarge_aligned(values, strides[-1])


def _enlarge_aligned(values: Tensor, factor: int) -> Tensor:
    """Enlarge a map, (h, w), so that each value stays at the corner of its cell."""
    if factor == 1:
        return values
    height, width = (side * factor for side in values.shape)
    padded = F.pad(values[None, None], (0, 1, 0, 1), mode='replicate')
    larger = F.interpolate(
        padded, (height + 1, width + 1), mode='bilinear', align_corners=True
    )
    half = factor // 2
    larger = F.pad(larger, (half, 0, half, 0), mode='replicate')
    return larger[0, 0, :height, :width]
