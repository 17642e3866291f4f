"""Find what is wrong with the data sets of a config."""

from __future__ import annotations

import os
from functools import partial
from multiprocessing.pool import ThreadPool
from typing import Any

import numpy as np
from mmengine.config import Config
from rich.console import Console
from rich.progress import track

from mmrapidnet.datasets.check.class_counts import check_counts, check_labels
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
from mmrapidnet.datasets.check.layout import check_layout
from mmrapidnet.datasets.check.model_classes import (
    check_model_classes,
    check_same_order,
)
from mmrapidnet.datasets.check.problem import Problem
from mmrapidnet.datasets.check.source import Sample, Source, sources_of
from mmrapidnet.datasets.image_folder import ImageFolder
from mmrapidnet.utils.errors import UserError

_CHUNK = 16  # images that a thread takes at once


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
            check_layout(source, cfg)
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
    problems += check_same_order(source for source, _ in found)
    problems += check_labels(found) + check_counts(counted)
    samples = (sample for _, samples in found for sample in samples)
    problems += check_unnamed(samples, {problem.file for problem in problems})
    if not any(problem.stops for problem in problems):
        problems += check_evaluators(cfg, dataloaders)
    return problems


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
    lost = list(check_files(samples))
    gone = {problem.file for problem in lost}
    whole = [s for s in samples if not gone.intersection((s.image, s.label_map))]
    return [*problems, *check_model_classes(source), *lost], whole


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


def _samples_of(source: Source, thorough: bool) -> tuple[list[Problem], list[Sample]]:
    """Check the records of a data set, if it is of a kind known here."""
    dataset = source.dataset
    if source.scope == 'mmdet' and reads_coco(dataset):
        return coco_samples(source, thorough)
    if hasattr(dataset, 'reduce_zero_label'):
        return label_map_samples(source)
    if hasattr(dataset, 'img_prefix') and hasattr(dataset, 'extensions'):
        return class_samples(source)
    if isinstance(dataset, ImageFolder):
        return [], [Sample(info['img_path']) for info in dataset.load_data_list()]
    return [], []


def _read_all(
    source: Source, samples: list[Sample], workers: int
) -> tuple[list[Problem], np.ndarray]:
    console = Console(stderr=True)
    what = f'reading {source.config.get("data_root") or "images"}'
    silent = not console.is_terminal
    # What reads is built under a default scope, which threads share.
    _ = source.loader, source.annotations
    found, pixels = [], np.zeros(LABELS, dtype=np.int64)
    # Threads, as decoders release Python's lock.
    with ThreadPool(workers) as pool:
        results: Any = pool.imap(partial(check_sample, source), samples, _CHUNK)
        total = len(samples)
        for problems, counts in track(
            results, what, total, console=console, disable=silent
        ):
            found += problems
            pixels += 0 if counts is None else counts
    return found, pixels
