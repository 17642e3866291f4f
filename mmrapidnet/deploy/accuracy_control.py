"""What holds an int8 file to a metric while it is being made."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

Run = Callable[[np.ndarray], dict[str, np.ndarray]]


@dataclass(frozen=True)
class AccuracyControl:
    """A metric of a network that is no file yet, and what it may lose.

    Attributes:
        measure: From a network, as a session is a function of a batch of one image of
            the file's size, and the numbers of some images, to its metric on them, in
            points (hundredths of the best value); more is better.
        images: How many images there are; their numbers are 0, 1, ...
        max_drop: What may be lost on all of them, in points.
    """

    measure: Callable[[Run, Sequence[int]], float]
    images: int
    max_drop: float
