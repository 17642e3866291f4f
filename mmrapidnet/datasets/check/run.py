"""Find what is wrong with the data sets of a config."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import islice
from multiprocessing.pool import ThreadPool
from typing import Any

import numpy as np
from mmengine.config import Config
from rich.console import Console
from rich.progress import track

from mmrapidnet.config.evaluators import list_metrics
from mmrapidnet.config.load import iter_datasets
from mmrapidnet.datasets.check.class_counts import check_counts, check_two_classes
from mmrapidnet.datasets.check.coco.check import coco_samples, reads_coco
from mmrapidnet.datasets.check.evaluators import check_evaluators
from mmrapidnet.datasets.check.files import check_files, check_unnamed
from mmrapidnet.datasets.check.imagenet import class_samples
from mmrapidnet.datasets.check.images import check_image
from mmrapidnet.datasets.check.label_maps import (
    LABELS,
    check_label_map,
    label_map_samples,
)
from mmrapidnet.datasets.check.layout import check_layout, hint_of
from mmrapidnet.datasets.check.model_classes import check_model_classes
from mmrapidnet.datasets.check.problem import Problem
from mmrapidnet.datasets.check.source import Sample, Source
from mmrapidnet.utils.errors import UserError

_CHUNK = 16  # images that a thread takes at once
_A_FEW = 8


def sources_of(cfg: Config, dataloaders: list[str]) -> Iterator[Source]:
    """List the data sets of some dataloaders, each once.

    Args:
        cfg: The config of a run.
        dataloaders: Names of dataloaders; those that the config lacks are passed over.

    Yields:
        The data sets.
    """
    model = {key: cfg.get(key) for key in ('model', 'data_preprocessor')}
    seen = []
    for name in dataloaders:
        for dataset in iter_datasets(cfg.get(name)):
            predicted = _is_predicted_on(cfg, name)
            evaluated = name != 'train_dataloader' and not predicted
            use = dataset, evaluated, not predicted
            if use not in seen:
                seen.append(use)
                yield Source(dataset, cfg.default_scope, *use[1:], model=model)


def find_in_records(
    source: Source, thorough: bool = False
) -> tuple[list[Problem], list[Sample]]:
    """Check what can be checked without reading images.

    Args:
        source: A data set that is where its config says.
        thorough: Whether to decode masks and to tell what is merely unusual.

    Returns:
        What is wrong or unusual, and the samples whose files are there.

    Raises:
        UserError: If its annotations are of another kind than the config's data set
            reads.
    """
    problems, samples = _samples_of(source, thorough)
    problems += check_model_classes(source)
    lost = list(check_files(samples))
    gone = {problem.file for problem in lost}
    whole = [s for s in samples if not gone.intersection((s.image, s.label_map))]
    return problems + lost, whole


def find_in_labels(found: Sequence[tuple[Source, list[Sample]]]) -> list[Problem]:
    """Count the images of each class, in classification.

    Args:
        found: Data sets with their samples.

    Returns:
        Classes without any; a stop where nothing is left to learn.
    """
    counted = []
    for source, samples in found:
        classes = source.dataset.metainfo.get('classes')
        labels = [sample.label for sample in samples if sample.label is not None]
        # What learns without labels may have them.
        if classes and labels and source.heads:
            counted.append((source, np.bincount(labels, minlength=len(classes))))
    return _too_few(counted, 'image')


def find_in_a_few_files(
    found: Sequence[tuple[Source, list[Sample]]],
) -> list[Problem]:
    """Check what can be told from a few images and label maps.

    Of each data set eight images, from all of its parts, are read with their label
    maps; then label maps until two classes have been met, which takes all of them only
    where there is but one.

    Args:
        found: Data sets with their samples.

    Returns:
        What stops training or testing.
    """
    problems = []
    for source, samples in found:
        few = islice(_from_all_parts(samples), _A_FEW)
        problems += [p for sample in few for p in check_sample(source, sample)[0]]
    for group in _used_together(found):
        problems += check_two_classes(
            (source, sample)
            for source, samples in group
            for sample in _from_all_parts(samples)
        )
    return [problem for problem in problems if problem.stops]


def find_problems(
    cfg: Config, dataloaders: list[str], workers: int | None = None
) -> list[Problem]:
    """Check the data sets of a config, reading every image and label map once.

    Shows a progress bar if it runs in a terminal.

    Args:
        cfg: The config of a run.
        dataloaders: Names of the dataloaders to check.
        workers: Number of threads that read.  Defaults to the number of cores.

    Returns:
        Everything found, in the order of the data sets.
    """
    problems, found, counted = [], [], []
    for source in sources_of(cfg, dataloaders):
        try:
            check_layout(source.config, hint_of(cfg))
            in_records, samples = find_in_records(source, thorough=True)
        except UserError as error:
            root = source.config.get('data_root') or '.'
            problems.append(Problem('unusable data set', root, str(error)))
            continue
        threads = workers or len(os.sched_getaffinity(0))
        in_files, pixels = _read_all(source, samples, threads)
        problems += in_records + in_files
        found.append((source, samples))
        if pixels.any():
            counted.append((source, pixels))
    problems += find_in_labels(found)
    problems += _too_few(counted, 'pixel')
    samples = (sample for _, samples in found for sample in samples)
    problems += check_unnamed(samples, {problem.file for problem in problems})
    if not any(problem.stops for problem in problems):
        problems += check_evaluators(cfg, dataloaders)
    return problems


def check_sample(
    source: Source, sample: Sample
) -> tuple[list[Problem], np.ndarray | None]:
    """Read one image and its label map as the config's pipeline reads them.

    Args:
        source: A data set.
        sample: One of its samples.

    Returns:
        What is wrong with it or unusual, and the pixels of each label, (256,); None
        without a label map that can be read.
    """
    size, problems = check_image(sample, source) if source.reads_images else (None, [])
    if not (sample.label_map and source.reads_label_maps):
        return problems, None
    in_labels, pixels = check_label_map(sample, size, source)
    return problems + in_labels, pixels


def _used_together(found: Iterable[tuple]) -> list[list[tuple]]:
    """Group by data set what is evaluated; training draws on all of its data sets."""
    training = [item for item in found if not item[0].evaluated]
    groups = [training, *([item] for item in found if item[0].evaluated)]
    return [group for group in groups if group]


def _too_few(counted: Iterable[tuple[Source, np.ndarray]], unit: str) -> list[Problem]:
    return [
        problem
        for group in _used_together(counted)
        for problem in check_counts(sum(c for _, c in group), group[0][0], unit)
    ]


def _from_all_parts(samples: list[Sample]) -> Iterator[Sample]:
    """All samples, the first few from the whole length of the list."""
    step = max(1, len(samples) // _A_FEW)
    for start in range(step):
        yield from samples[start::step]


def _is_predicted_on(cfg: Config, dataloader: str) -> bool:
    """Whether the evaluators of a dataloader only write what was predicted."""
    metrics = list_metrics(cfg.get(dataloader.replace('_dataloader', '_evaluator')))
    return bool(metrics) and all(metric.get('format_only') for metric in metrics)


def _samples_of(source: Source, thorough: bool) -> tuple[list[Problem], list[Sample]]:
    """Check the records of a data set, if it is of a kind known here."""
    dataset = source.dataset
    if source.scope == 'mmdet' and reads_coco(dataset):
        return coco_samples(source, thorough)
    if hasattr(dataset, 'reduce_zero_label'):
        return label_map_samples(source)
    if hasattr(dataset, 'img_prefix') and hasattr(dataset, 'extensions'):
        return class_samples(source)
    return [], []


def _read_all(
    source: Source, samples: list[Sample], workers: int
) -> tuple[list[Problem], np.ndarray]:
    console = Console(stderr=True)
    what = f'reading {source.config.get("data_root") or "images"}'
    # What reads is built under a default scope, which threads share.
    _ = source.loader, source.annotations
    # Threads, as decoders release Python's lock.
    with ThreadPool(workers) as pool:
        results: Any = pool.imap(partial(check_sample, source), samples, _CHUNK)
        results = track(
            results,
            what,
            len(samples),
            console=console,
            disable=not console.is_terminal,
        )
        found, pixels = [], np.zeros(LABELS, dtype=np.int64)
        for problems, counts in results:
            found += problems
            pixels += 0 if counts is None else counts
    return found, pixels
