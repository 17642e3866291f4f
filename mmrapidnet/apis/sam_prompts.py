"""Prompts as users give them: which are none, and what they are as arrays."""

from __future__ import annotations

from typing import Any

import numpy as np

from mmrapidnet.utils.errors import UserError

_LABELS = (-1, 0, 1)


def check_prompts(
    points: Any,
    labels: Any,
    boxes: Any,
    masks: Any,
    image_size: tuple[int, int],
    mask_side: int,
) -> tuple[np.ndarray | None, ...]:
    """Turn prompts into arrays that fit each other and the image.

    Args:
        points: (B, N, 2) or None.
        labels: (B, N) or None.
        boxes: (B, 4) or None.
        masks: (B, 1, mask_side, mask_side) or None.
        image_size: Height and width of the image.
        mask_side: Height and width of masks.

    Returns:
        The four as arrays, None where none was given.

    Raises:
        UserError: If there is none, or one does not fit.
    """
    if points is None and labels is not None:
        raise UserError('point_labels without point_coords: give both')
    if points is not None and labels is None:
        raise UserError(
            'point_coords without point_labels: give 1 for each point of the object, '
            '0 for each outside of it'
        )
    if points is None and boxes is None and masks is None:
        raise UserError('there is no prompt: give points with labels, a box or a mask')
    points = _to_array('point_coords', points, ('B', 'N', 2))
    labels = _to_array('point_labels', labels, ('B', 'N'))
    boxes = _to_array('boxes', boxes, ('B', 4))
    masks = _to_array('mask_input', masks, ('B', 1, mask_side, mask_side))
    _check_counts(points, labels, boxes, masks)
    if points is not None:
        _check_points(points, labels, image_size)
    if boxes is not None:
        _check_boxes(boxes, image_size)
    return points, labels, boxes, masks


def _to_array(name: str, value: Any, shape: tuple[int | str, ...]) -> np.ndarray | None:
    if value is None:
        return None
    expected = f'({", ".join(map(str, shape))})'
    try:
        array = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise UserError(f'{name} is no array of numbers {expected}: {error}') from error
    if array.ndim != len(shape) or any(
        isinstance(wanted, int) and wanted != found
        for wanted, found in zip(shape, array.shape)
    ):
        raise UserError(f'{name} has shape {array.shape}: expected {expected}')
    if not np.isfinite(array).all():
        raise UserError(f'{name} has values that are not finite')
    return array


def _check_counts(
    points: np.ndarray | None, labels: np.ndarray | None, *others: np.ndarray | None
) -> None:
    if points is not None and points.shape[:2] != labels.shape:
        raise UserError(
            f'{points.shape[0]} x {points.shape[1]} points have '
            f'{labels.shape[0]} x {labels.shape[1]} labels: give one for each'
        )
    counts = {len(array) for array in (points, *others) if array is not None}
    if len(counts) > 1:
        raise UserError(
            f'points, boxes and masks are of {", ".join(map(str, sorted(counts)))} '
            'objects: give as many of each'
        )


def _check_points(
    points: np.ndarray, labels: np.ndarray, image_size: tuple[int, int]
) -> None:
    unknown = labels[~np.isin(labels, _LABELS)]
    if unknown.size:
        raise UserError(
            f'a point has the label {unknown[0]:g}: give 1 (of the object), 0 (outside '
            'of it) or -1 (no point)'
        )
    height, width = image_size
    given = points[labels >= 0]
    outside = given[((given < 0) | (given > (width, height))).any(axis=1)]
    if len(outside):
        raise UserError(
            f'the point {_join(outside[0])} is outside of the image, which has '
            f'{width} x {height} pixels'
        )


def _check_boxes(boxes: np.ndarray, image_size: tuple[int, int]) -> None:
    low, high = boxes[:, :2], boxes[:, 2:]
    empty = boxes[(high <= low).any(axis=1)]
    if len(empty):
        raise UserError(
            f'the box {_join(empty[0])} has no size: give x1 y1 x2 y2 with x1 < x2 and '
            'y1 < y2'
        )
    height, width = image_size
    outside = boxes[((high <= 0) | (low >= (width, height))).any(axis=1)]
    if len(outside):
        raise UserError(
            f'the box {_join(outside[0])} is outside of the image, which has '
            f'{width} x {height} pixels'
        )


def _join(numbers: np.ndarray) -> str:
    return ' '.join(f'{number:g}' for number in numbers)
