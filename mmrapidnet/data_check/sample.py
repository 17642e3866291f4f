"""What belongs to one image of a data set."""

from __future__ import annotations

from typing import NamedTuple


class Sample(NamedTuple):
    """An image and what the annotations say of it.

    Args:
        image: Path of the image.
        record: Which record names it, such as 'a/val.json: image 7'; empty if none.
        size: Height and width in pixels, as the annotations have them.
        label_map: Path of the label map, in segmentation.
        label: Number of its class, in classification.
    """

    image: str
    record: str = ''
    size: tuple[int, int] | None = None
    label_map: str | None = None
    label: int | None = None
