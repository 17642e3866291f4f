"""Are the files there, and is anything in them?"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from functools import cache

from mmrapidnet.data_check.problem import Problem
from mmrapidnet.data_check.sample import Sample


def check_files(samples: Iterable[Sample]) -> Iterator[Problem]:
    """Look for every image and label map, reading folders and no file.

    Args:
        samples: The samples.

    Yields:
        Missing and empty files.
    """

    @cache
    def sizes(folder: str) -> dict[str, int]:
        return _sizes(folder)

    for sample in samples:
        for kind, path in (('image', sample.image), ('label map', sample.label_map)):
            if path is None:
                continue
            folder, name = os.path.split(path)
            size = sizes(folder).get(name)
            if size is None:
                owner = sample.record or (
                    f'label map of {sample.image}' if kind == 'label map' else ''
                )
                yield Problem(f'missing {kind}', path, 'there is no such file', owner)
            elif size == 0:
                detail = 'the file has zero bytes'
                yield Problem(f'empty {kind} file', path, detail, sample.record)


def _sizes(folder: str) -> dict[str, int]:
    """Bytes of each file in a folder; empty if there is no such folder."""
    try:
        with os.scandir(folder or '.') as entries:
            return {e.name: e.stat().st_size for e in entries if e.is_file()}
    except (FileNotFoundError, NotADirectoryError):
        return {}
