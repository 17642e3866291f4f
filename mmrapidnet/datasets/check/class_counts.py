"""How much there is of each class, and whether that is anything to learn from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from mmrapidnet.datasets.check.label_maps import LABELS, check_label_map
from mmrapidnet.datasets.check.problem import Problem
from mmrapidnet.datasets.check.source import Sample, Source


def check_labels(found: Iterable[tuple[Source, Sequence[Sample]]]) -> list[Problem]:
    """Count the images of each class, in classification, as `check_counts` says."""
    counted = []
    for source, samples in found:
        classes = source.dataset.metainfo.get('classes')
        labels = [sample.label for sample in samples if sample.label is not None]
        # What learns without labels may have them.
        if classes and labels and source.heads:
            counted.append((source, np.bincount(labels, minlength=len(classes))))
    return check_counts(counted, 'image')


def check_counts(
    counted: Iterable[tuple[Source, np.ndarray]], unit: str = 'pixel'
) -> list[Problem]:
    """Say which classes never occur, and whether anything is left.

    Args:
        counted: Data sets with how many pixels or images each label has, at least one
            number for each class.
        unit: What is counted.  Defaults to 'pixel'.

    Returns:
        A stop where nothing can be learnt or evaluated; otherwise the classes that
        nothing is of.
    """
    problems = []
    for group in _used_together(counted):
        source = group[0][0]
        problems += _check_sum(sum(counts for _, counts in group), source, unit)
    return problems


def check_two_classes(
    found: Iterable[tuple[Source, Sequence[Sample]]],
) -> Iterator[Problem]:
    """Read label maps until two classes have been met, usually in the first.

    Yields:
        A stop where all of those that are used together were read in vain.
    """
    for group in _used_together(found):
        samples = ((source, sample) for source, samples in group for sample in samples)
        yield from _read_until_two(samples)


def _used_together(found: Iterable[tuple[Source, Any]]) -> list[list]:
    """Group by data set what is evaluated; training draws on all of its data sets.

    What is only predicted on is of none.
    """
    found = [item for item in found if item[0].annotated]
    training = [item for item in found if not item[0].evaluated]
    groups = [training, *([item] for item in found if item[0].evaluated)]
    return [group for group in groups if group]


def _check_sum(counts: np.ndarray, source: Source, unit: str) -> Iterator[Problem]:
    left, ignored = _left(counts, source)
    if not _suffices(left, ignored, source):
        yield _nothing(left, ignored, source, unit)
        return
    classes = source.dataset.metainfo['classes']
    fate = 'measured' if source.evaluated else 'learnt'
    for number in np.flatnonzero(left == 0):
        detail = f'no {unit} of {classes[number]} ({number}): nothing of it is {fate}'
        yield Problem(f'class without {unit}s', source.name, detail, stops=False)


def _read_until_two(samples: Iterable[tuple[Source, Sample]]) -> Iterator[Problem]:
    counts = np.zeros(LABELS, dtype=np.int64)
    for source, sample in samples:
        if not (sample.label_map and source.reads_label_maps):
            continue
        pixels = check_label_map(sample, None, source)[1]
        if pixels is None:
            continue
        counts += pixels
        left, ignored = _left(counts, source)
        if _suffices(left, ignored, source):
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


def _suffices(left: np.ndarray, ignored: int, source: Source) -> bool:
    present = np.count_nonzero(left)
    if not source.evaluated:
        return present > 1
    # One class alone can be evaluated, but a mask of 0 and 255 is meant otherwise.
    return present > (1 if ignored and len(left) == 2 else 0)


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
