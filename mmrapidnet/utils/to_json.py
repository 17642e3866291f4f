"""Metrics as JSON can hold them."""

from __future__ import annotations

import math
import numbers
from typing import Any

import numpy as np
import torch


def to_json(value: Any) -> Any:
    """Turn metrics into what JSON has a form for.

    Args:
        value: Numbers, text, arrays, tensors and containers of them.

    Returns:
        The same, with None for what is not a finite number, such as the figure of a
        class that does not occur.

    Examples:
        >>> to_json({'mIoU': np.float32(0.5), 'IoU': np.array([1, np.nan])})
        {'mIoU': 0.5, 'IoU': [1.0, None]}
    """
    if isinstance(value, dict):
        return {str(name): to_json(part) for name, part in value.items()}
    if isinstance(value, (np.ndarray, torch.Tensor)):
        return to_json(value.tolist())
    if isinstance(value, (list, tuple)):
        return [to_json(part) for part in value]
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real):
        return float(value) if math.isfinite(value) else None
    return None if value is None else str(value)
