"""How much there is of each class, and whether that is anything to learn from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from mmrapidnet.datasets.check.label_maps import LABELS, check_label_map
from mmrapidnet.datasets.check.problem import Problem
from mmrapidnet.datasets.check.source import Sample, Source


def check_counts(
    counts: np.ndarray, source: Source, unit: str = 'pixel'
) -> Iterator[Problem]:
    """Say which classes never occur, and whether anything is left.

    Args:
        counts: How many pixels or images each label has, at least one for each class.
        source: The data set, or one of several that are trained on together.
        unit: What is counted.  Defaults to 'pixel'.

    Yields:
        A stop where nothing can be learnt or evaluated; otherwise the classes that
        nothing is of.
    """
    classes = source.dataset.metainfo['classes']
    left, ignored = _left(counts, source)
    present = np.flatnonzero(left)
    if not _suffices(present, ignored, source):
        yield _nothing(left, ignored, source, unit)
        return
    fate = 'measured' if source.evaluated else 'learnt'
    for number in np.flatnonzero(left == 0):
        detail = f'no {unit} of {classes[number]} ({number}): nothing of it is {fate}'
        yield Problem(f'class without {unit}s', source.name, detail, stops=False)


def check_two_classes(samples: Iterable[tuple[Source, Sample]]) -> Iterator[Problem]:
    """Read label maps until two classes have been met, usually in the first.

    Args:
        samples: Samples with their data sets, which are trained on together or
            evaluated.

    Yields:
        A stop if all of them were read in vain.
    """
    counts = np.zeros(LABELS, dtype=np.int64)
    for source, sample in samples:
        if not (sample.label_map and source.reads_label_maps):
            continue
        found = check_label_map(sample, None, source)[1]
        if found is None:
            continue
        counts += found
        left, ignored = _left(counts, source)
        if _suffices(np.flatnonzero(left), ignored, source):
            return
    if counts.any():
        yield _nothing(left, ignored, source, 'pixel')


def _left(counts: np.ndarray, source: Source) -> tuple[np.ndarray, int]:
    """What there is of each class, and what is ignored."""
    left = counts[: len(source.dataset.metainfo['classes'])].copy()
    label = getattr(source.dataset, 'ignore_index', len(counts))
    if label < len(left):
        left[label] = 0
    return left, int(counts[label]) if label < len(counts) else 0


def _suffices(present: np.ndarray, ignored: int, source: Source) -> bool:
    if not source.evaluated:
        return len(present) > 1
    # One class alone can be evaluated, but a mask of 0 and 255 is meant otherwise.
    is_mask = ignored > 0 and len(source.dataset.metainfo['classes']) == 2
    return len(present) > (1 if is_mask else 0)


def _nothing(left: np.ndarray, ignored: int, source: Source, unit: str) -> Problem:
    classes = source.dataset.metainfo['classes']
    found = [f'{left[i]:,} of {classes[i]} ({i})' for i in np.flatnonzero(left)]
    detail = f'the {unit}s left are {", ".join(found) or "none"}'
    if ignored:
        label = source.dataset.ignore_index
        detail += (
            f'; {ignored:,} have label {label}, which is ignored: write the number of '
            'their class instead'
        )
    return Problem('nothing to learn', source.name, detail)
