"""From a file's outputs to final results, equal to the libraries' own."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

Size = tuple[int, int]
# What mmdet multiplies the number of an object with, to tell it from others.
_INSTANCE = 1000


def label_map(
    logits: np.ndarray,
    sizes: Sequence[Size],
    align_corners: bool = False,
    crop: Size | None = None,
) -> np.ndarray:
    """Find the class of each pixel, as mmseg does.

    mmseg resizes the logits bilinearly, first to the input image, then to the original
    one, and takes the largest.  At 150 classes those maps are hundreds of megabytes;
    here one class is resized at a time, and only if it can be the largest somewhere.

    Args:
        logits: (classes, h, w), at least two classes.
        sizes: Height and width to resize to, one after the other.
        align_corners: As the decode head has it. Defaults to False.
        crop: Height and width of what is kept of the first of ``sizes``, without the
            padding. Defaults to None: all.

    Returns:
        (H, W), int64, of the last of ``sizes``; of two equal logits the first class.

    Examples:
        >>> logits = np.array([[[0, 3]], [[1, 0]]], dtype=np.float32)
        >>> label_map(logits, [(1, 8)])
        array([[1, 1, 1, 0, 0, 0, 0, 0]])
    """
    maps = torch.from_numpy(np.ascontiguousarray(logits, dtype=np.float32))
    best = labels = None
    for number in _candidates(maps, sizes[0]):
        values = resize(maps[number], sizes, align_corners, crop)
        if best is None:
            best = values.clone()
            labels = torch.full(best.shape, number, dtype=torch.int16)
        else:
            larger = (values > best).to(torch.int16)
            torch.maximum(best, values, out=best)
            # The numbers rise: the largest so far is the latest.
            torch.maximum(labels, larger.mul_(number), out=labels)
    return labels.numpy().astype(np.int64)


def foreground_map(
    logits: np.ndarray,
    sizes: Sequence[Size],
    threshold: float,
    align_corners: bool = False,
) -> np.ndarray:
    """Tell foreground from background with a single logit, as mmseg does.

    Args:
        logits: (1, h, w).
        sizes: Height and width to resize to, one after the other.
        threshold: Probability above which a pixel is foreground.
        align_corners: As the decode head has it. Defaults to False.

    Returns:
        (H, W) of 0 and 1, int64, of the last of ``sizes``.
    """
    values = torch.from_numpy(np.ascontiguousarray(logits[0], dtype=np.float32))
    values = resize(values, sizes, align_corners)
    return (values.sigmoid() > threshold).numpy().astype(np.int64)


def paste_masks(
    masks: np.ndarray, boxes: np.ndarray, size: Size, threshold: float = 0.5
) -> np.ndarray:
    """Put the masks of boxes into the image, as mmdet does on a CPU.

    Args:
        masks: (K, h, w), probabilities inside the boxes.
        boxes: (K, 4), xyxy in pixels of the image.
        size: Height and width of the image.
        threshold: Least probability of a pixel of the object. Defaults to 0.5.

    Returns:
        (K, H, W), bool.

    Examples:
        >>> paste_masks(np.ones((1, 28, 28)), np.array([[1.0, 0, 3, 1]]), (2, 4))
        array([[[False,  True,  True, False],
                [False, False, False, False]]])
    """
    height, width = size
    pasted = np.zeros((len(boxes), height, width), dtype=bool)
    for mask, box, image in zip(masks, boxes, pasted):
        # Only around the box: one pixel more, for what interpolation adds.
        left, top = np.maximum(np.floor(box[:2]) - 1, 0).astype(int)
        right, bottom = np.ceil(box[2:]).astype(int) + 1
        region = image[top:bottom, left:right]
        x0, y0, x1, y1 = torch.from_numpy(np.float32(box))
        x = _within(x0, x1, left, region.shape[1])
        y = _within(y0, y1, top, region.shape[0])
        grid = torch.stack([x.expand(len(y), -1), y[:, None].expand(-1, len(x))], dim=2)
        source = torch.from_numpy(np.float32(mask))[None, None]
        values = F.grid_sample(source, grid[None], align_corners=False)
        region[...] = values[0, 0] >= threshold
    return pasted


def fuse_panoptic(
    stuff: np.ndarray,
    masks: np.ndarray,
    labels: np.ndarray,
    classes: tuple[int, int],
    mask_overlap: float,
    stuff_area_limit: float,
) -> np.ndarray:
    """Lay objects over stuff, as mmdet's ``HeuristicFusionHead`` does.

    The rule is that of Kirillov et al., Panoptic Segmentation (arXiv 1801.00868): a
    surer object covers the others, what is mostly covered is dropped, and so are small
    patches of stuff.

    Args:
        stuff: Class of each pixel if it is of no object, (H, W), int64.
        masks: Of the objects by descending score, (K, H, W), bool.
        labels: Their classes, (K,).
        classes: Number of classes of objects, and of all; the latter is what a pixel of
            no class is given.
        mask_overlap: Share of an object that may be covered.
        stuff_area_limit: Pixels that stuff of a class needs in the image.

    Returns:
        (H, W), int64: of stuff its class, of the k-th object kept its class and 1000 k.

    Examples:
        >>> stuff = np.array([[2, 2, 2, 3]])
        >>> masks = np.array([[[True, True, False, False]]])
        >>> fuse_panoptic(stuff, masks, np.array([1]), (2, 4), 0.5, 1)
        array([[1001, 1001,    2,    3]])
        >>> fuse_panoptic(stuff, masks, np.array([1]), (2, 4), 0.5, 2)
        array([[1001, 1001,    4,    4]])
    """
    things, ignored = classes
    fused, covered, count = stuff.copy(), np.zeros(stuff.shape, bool), 0
    for mask, label in zip(masks, labels):
        visible = mask & ~covered
        area = np.float32(mask.sum())
        hidden = area - np.float32(visible.sum())
        if not visible.any() or hidden / (area + np.float32(1e-5)) > mask_overlap:
            continue
        count += 1
        fused[visible] = label + count * _INSTANCE
        covered |= mask
    found, areas = np.unique(fused % _INSTANCE, return_counts=True)
    small = found[(found >= things) & (areas < stuff_area_limit)]
    fused[np.isin(fused, small)] = ignored
    return fused


def resize(
    values: Tensor,
    sizes: Sequence[Size],
    align_corners: bool = False,
    crop: Size | None = None,
) -> Tensor:
    """Resize a map bilinearly.

    Args:
        values: (h, w).
        sizes: Height and width to resize to, one after the other.
        align_corners: As PyTorch has it. Defaults to False.
        crop: Height and width without padding, to cut the first result to. Defaults to
            None: there is none.

    Returns:
        (H, W), of the last of ``sizes``.
    """
    for size in sizes:
        # To the same size it is the identity, which PyTorch computes all the same.
        if values.shape != tuple(size):
            values = F.interpolate(
                values[None, None],
                size=size,
                mode='bilinear',
                align_corners=align_corners,
            )[0, 0]
        if crop is not None:
            values, crop = values[: crop[0], : crop[1]], None
    return values


def softmax(logits: np.ndarray) -> np.ndarray:
    """Turn the logits of an image, (classes,), into probabilities, float32."""
    return torch.from_numpy(np.float32(logits)).softmax(dim=0).numpy()


def _within(start: Tensor, end: Tensor, first: int, count: int) -> Tensor:
    """Where the centres of pixels lie between the edges of a box, from -1 to 1."""
    centres = torch.arange(first, first + count, dtype=torch.float32) + 0.5
    relative = (centres - start) / (end - start) * 2 - 1
    # A box without extent.
    return relative.masked_fill(relative.isinf(), 0)


def _candidates(maps: Tensor, size: Size) -> list[int]:
    """The classes that can be largest at some pixel after resizing.

    Enlarged once, and resized once more, a pixel is a weighted mean of at most 3 x 3
    neighbouring logits.  A class whose largest there is below the smallest of another
    class is not the largest of that pixel.
    """
    classes, height, width = maps.shape
    if min(height, width) < 4 or size[0] < height or size[1] < width:
        return list(range(classes))
    even = F.pad(maps[None], (0, width % 2, 0, height % 2), mode='replicate')[0]
    highest = _over_windows(even, torch.maximum)
    lowest = _over_windows(even, torch.minimum)
    rounding = 1e-5 * maps.abs().max()
    possible = highest + rounding >= lowest.amax(dim=0)
    return possible.flatten(1).any(dim=1).nonzero()[:, 0].tolist()


def _over_windows(maps: Tensor, pick: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Combine windows of 4 x 4 at a stride of 2: any three rows lie in one of them.

    It takes a fifth of the time of ``max_pool2d``.
    """
    maps = pick(maps[:, ::2], maps[:, 1::2])
    maps = pick(maps[:, :-1], maps[:, 1:])
    maps = pick(maps[..., ::2], maps[..., 1::2])
    return pick(maps[..., :-1], maps[..., 1:])
