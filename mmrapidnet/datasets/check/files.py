"""Are the files there, is anything in them, and are there others?"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Container, Iterable, Iterator
from functools import cache

from mmrapidnet.datasets.check.problem import Problem
from mmrapidnet.datasets.check.source import Sample

_IMAGE_SUFFIXES = ('.jpg', '.jpeg', '.png', '.bmp', '.tif', '.tiff', '.webp')


def check_files(samples: Iterable[Sample]) -> Iterator[Problem]:
    """Find missing and empty images and label maps, reading folders and no file."""
    sizes = cache(_sizes)
    for sample in samples:
        for kind, path in (('image', sample.image), ('label map', sample.label_map)):
            if path is None:
                continue
            folder, name = os.path.split(path)
            size = sizes(folder).get(name)
            if size is None:
                owner = f'label map of {sample.image}' if kind == 'label map' else ''
                where = sample.record or owner
                yield Problem(f'missing {kind}', path, 'there is no such file', where)
            elif size == 0:
                detail = 'the file has zero bytes'
                yield Problem(f'empty {kind} file', path, detail, sample.record)


def check_unnamed(
    samples: Iterable[Sample], known: Container[str] = ()
) -> Iterator[Problem]:
    """Look for images beside those that records name.

    Args:
        samples: The samples of all data sets, which may share a folder.
        known: Files that something else was told of.  Defaults to none.

    Yields:
        One note for each folder in which there are any.
    """
    named = defaultdict(set)
    for sample in samples:
        if sample.record:
            folder, name = os.path.split(sample.image)
            named[folder].add(name)
    for folder, names in named.items():
        others = sorted(
            name
            for name in _sizes(folder)
            if _is_image(name)
            and name not in names
            and os.path.join(folder, name) not in known
        )
        if others:
            detail = f'{len(others):,} images are in no record, such as {others[0]}'
            yield Problem('images without a record', folder, detail, stops=False)


def images_below(folder: str) -> Iterator[str]:
    """Paths in order of the images in a folder and below it, whatever their case."""
    for place, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            if _is_image(name):
                yield os.path.join(place, name)


def _is_image(name: str) -> bool:
    return name.lower().endswith(_IMAGE_SUFFIXES)


def _sizes(folder: str) -> dict[str, int]:
    """Bytes of each file in a folder; empty if there is no such folder."""
    try:
        with os.scandir(folder or '.') as entries:
            return {e.name: e.stat().st_size for e in entries if e.is_file()}
    except (FileNotFoundError, NotADirectoryError):
        return {}
