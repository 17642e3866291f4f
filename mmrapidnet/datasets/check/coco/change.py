"""What was changed in a corrected copy."""

from __future__ import annotations

from typing import NamedTuple


class Change(NamedTuple):
    """One correction.

    Attributes:
        kind: What was done, in words that all of its kind share.
        record: The record, such as 'annotation 7'.
        detail: What was there, and what is now.

    Examples:
        >>> print(Change('new annotation id', 'annotations[0]', '0 -> 8'))
        annotations[0]: 0 -> 8
    """

    kind: str
    record: str
    detail: str

    def __str__(self) -> str:
        return f'{self.record}: {self.detail}'
