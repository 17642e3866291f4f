"""What a check found and where, and what a corrected copy has instead."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

# For the detail of what a corrected copy of annotations would not have.
FIXABLE = '`tools/check_dataset.py --fix OUT.json` corrects it'


@dataclass(frozen=True)
class Problem:
    """One thing that is not as it should be.

    Args:
        kind: What it is, in words that all of its kind share.
        file: The file it is in.
        detail: What was found, and what becomes of it where the run goes on.
        record: The record of the file, such as 'annotation 7'; empty if the file as
            a whole is meant.
        stops: Whether training or testing cannot go on with it, or would give wrong
            figures.  Defaults to True.

    Examples:
        >>> print(Problem('repeated id', 'val.json', 'two have it', 'image 3'))
        val.json: image 3: repeated id: two have it
    """

    kind: str
    file: str
    detail: str
    record: str = ''
    stops: bool = True

    def __str__(self) -> str:
        parts = (self.file, self.record, self.kind, self.detail)
        return ': '.join(part for part in parts if part).replace('\n', ' ')


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
