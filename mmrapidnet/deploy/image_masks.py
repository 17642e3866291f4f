"""From logits of the whole image to masks of a picture, equal to mmdet's own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from mmrapidnet.deploy.postprocess import Size, resize
from mmrapidnet.models.sam.prompts import find_boxes

# A mean of logits at a threshold may be rounded to one above it.
_ROUNDING = 1e-4


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
    time, and of it only the part where the object is.

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
    stride, threshold_logit = strides[0], _logit(threshold)
    source, target = shape, size
    if head == 'RTMDetInsHead':
        scale = scale or tuple(now / then for now, then in zip(shape, size))
        source = tuple(side * stride for side in logits.shape[1:])
        target = tuple(ceil(n * (1 / s)) for n, s in zip(source, scale))
    resizing = _Resizing(source, target)
    masks = np.zeros((len(logits), *size), dtype=bool)
    for number, part in _cut_out(logits, threshold_logit):
        values = _enlarge_as(head, part.values, strides)
        part = resizing(part.enlarged(values, stride))
        values = part.values
        if head == 'RTMDetInsHead':
            values = values.sigmoid()
        region = masks[number, part.top :, part.left :]
        values = values[: region.shape[0], : region.shape[1]]
        # By RTMDet-Ins's scale it may end before the picture.
        region[: values.shape[0], : values.shape[1]] = values > threshold
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
    mask_scores = np.zeros(len(logits), dtype=np.float32)
    resizing = _Resizing(shape, size)
    for number, part in _cut_out(logits, threshold=0.0):
        part = resizing(part.enlarged(_enlarge(part.values, stride), stride))
        mask = part.values > 0
        height, width = mask.shape
        masks[number, part.top :, part.left :][:height, :width] = mask
        inside = (part.values.sigmoid() * mask).sum()
        mask_scores[number] = inside / (mask.sum() + 1e-6)
    boxes = find_boxes(torch.from_numpy(masks)).numpy()
    return {'masks': masks, 'boxes': boxes, 'scores': scores * mask_scores}


@dataclass(frozen=True)
class _Part:
    """A part of a map.

    Attributes:
        values: (h, w).
        top: Row of the map at which it begins.
        left: Its first column.
    """

    values: Tensor
    top: int
    left: int

    def enlarged(self, values: Tensor, factor: int) -> _Part:
        """The same part of a map so many times as large, which has these values."""
        return _Part(values, self.top * factor, self.left * factor)


class _Resizing:
    """From a part of an image's map to that of a picture's, bilinearly.

    Args:
        source: Height and width of the image.
        target: Height and width of the picture.
    """

    def __init__(self, source: Size, target: Size) -> None:
        self.source, self.target = source, target
        self.axes = [_find_neighbours(*sides) for sides in zip(source, target)]

    def __call__(self, part: _Part) -> _Part:
        """What of the picture comes from the part alone."""
        starts = [part.top, part.left]
        height, width = (max(s - n, 0) for s, n in zip(self.source, starts))
        values = part.values[:height, :width]  # without the padding
        for dim in (1, 0):  # PyTorch's order, which rounds alike
            if self.source[dim] == self.target[dim]:
                continue
            lower, upper, weights = self.axes[dim]
            start, stop = starts[dim], starts[dim] + values.shape[dim]
            first = int(torch.searchsorted(lower, start))
            chosen = slice(first, max(first, int(torch.searchsorted(upper, stop))))
            share = weights[chosen].unsqueeze(1 - dim)
            before = values.index_select(dim, lower[chosen] - start)
            after = values.index_select(dim, upper[chosen] - start)
            values = before.mul_(1 - share).add_(after.mul_(share))
            starts[dim] = first
        return _Part(values, *starts)


def _find_neighbours(source: int, target: int) -> tuple[Tensor, Tensor, Tensor]:
    """The pixels before and after each of a longer or shorter edge.

    Returns:
        Their numbers, and the share of the second, each (target,).
    """
    places = (torch.arange(target) + 0.5) * (source / target) - 0.5
    places = places.clamp(min=0)
    lower = places.long()
    return lower, (lower + 1).clamp(max=source - 1), places - lower


def _cut_out(logits: np.ndarray, threshold: float) -> Iterator[tuple[int, _Part]]:
    """Cut out of each map what is above a threshold, with a cell more on each side.

    Between values at or below it, bilinear resizing gives no value above it: all of
    an object comes from this part.

    Yields:
        The map's number and the part; nothing of a map that stays below.
    """
    maps = torch.from_numpy(np.float32(logits))
    boxes = find_boxes(maps > threshold - _ROUNDING).int().tolist()
    for number, (left, top, right, bottom) in enumerate(boxes):
        if right:
            left, top = max(left - 1, 0), max(top - 1, 0)
            values = maps[number, top : bottom + 1, left : right + 1]
            yield number, _Part(values, top, left)


def _logit(probability: float) -> float:
    """The logit of a probability."""
    return torch.tensor(probability, dtype=torch.float64).logit().item()


def _enlarge(values: Tensor, factor: int) -> Tensor:
    """Enlarge a map, (h, w)."""
    size = tuple(side * factor for side in values.shape)
    return resize(values, [size])


def _enlarge_as(head: str, values: Tensor, strides: Sequence[int]) -> Tensor:
    """Make logits, (h, w), those of the padded image's pixels, or probabilities."""
    if head == 'RTMDetInsHead':
        return _enlarge(values, strides[0])
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
