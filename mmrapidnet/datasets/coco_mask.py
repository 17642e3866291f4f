"""A mask as COCO's annotations have it."""

from __future__ import annotations

from typing import Any

import numpy as np
from pycocotools import mask as mask_utils


def describe_mask(mask: np.ndarray) -> dict[str, Any]:
    """What COCO's JSON says of an object's mask.

    Args:
        mask: Where the object is, (H, W), of booleans or uint8.

    Returns:
        ``area`` in pixels, ``bbox`` (x, y, width, height) around them, and
        ``segmentation``, run-length encoded and compressed.

    Examples:
        >>> record = describe_mask(np.array([[0, 1, 1], [0, 0, 1]], np.uint8))
        >>> record['area'], record['bbox'], record['segmentation']['size']
        (3, [1.0, 0.0, 2.0, 2.0], [2, 3])
    """
    rle = mask_utils.encode(np.asfortranarray(mask, np.uint8))
    return {
        'area': int(mask_utils.area(rle)),
        'bbox': mask_utils.toBbox(rle).tolist(),
        'segmentation': {
            'size': list(rle['size']),
            'counts': rle['counts'].decode('ascii'),
        },
    }
