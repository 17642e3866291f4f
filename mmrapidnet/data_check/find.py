"""Find what is wrong with the data sets of a config."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial
from multiprocessing.pool import ThreadPool
from typing import Any

from mmengine.config import Config
from rich.console import Console
from rich.progress import track

from mmrapidnet.data_check.classes import class_samples
from mmrapidnet.data_check.coco import coco_samples, reads_coco
from mmrapidnet.data_check.files import check_files
from mmrapidnet.data_check.images import check_image
from mmrapidnet.data_check.label_maps import check_label_map, label_map_samples
from mmrapidnet.data_check.layout import check_layout, hint_of
from mmrapidnet.data_check.problem import Problem
from mmrapidnet.data_check.sample import Sample
from mmrapidnet.data_check.source import Source
from mmrapidnet.engine.config import iter_datasets
from mmrapidnet.errors import UserError

_CHUNK = 16  # images that a thread takes at once


def sources_of(cfg: Config, dataloaders: list[str]) -> Iterator[Source]:
    """List the data sets of some dataloaders, each once.

    Args:
        cfg: The config of a run.
        dataloaders: Names of dataloaders; those that the config lacks are passed over.

    Yields:
        The data sets.
    """
    seen = []
    for name in dataloaders:
        for dataset in iter_datasets(cfg.get(name)):
            predicted = _is_predicted_on(cfg, name)
            evaluated = name != 'train_dataloader' and not predicted
            use = dataset, evaluated, not predicted
            if use not in seen:
                seen.append(use)
                yield Source(dataset, cfg.default_scope, *use[1:])


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
    return problems + lost, whole


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
    problems = []
    for source in sources_of(cfg, dataloaders):
        try:
            check_layout(source.config, hint_of(cfg))
            found, samples = find_in_records(source, thorough=True)
        except UserError as error:
            root = source.config.get('data_root') or '.'
            problems.append(Problem('unusable data set', root, str(error)))
            continue
        problems += found
        problems += _read_all(source, samples, workers or len(os.sched_getaffinity(0)))
    return problems


def check_sample(source: Source, sample: Sample) -> list[Problem]:
    """Read one image and its label map as the config's pipeline reads them.

    Args:
        source: A data set.
        sample: One of its samples.

    Returns:
        What is wrong with it or unusual.
    """
    size, problems = check_image(sample, source)
    if sample.label_map and source.annotations:
        problems += check_label_map(sample, size, source)
    return problems


def _is_predicted_on(cfg: Config, dataloader: str) -> bool:
    """Whether the evaluators of a dataloader only write what was predicted."""
    found = cfg.get(dataloader.replace('_dataloader', '_evaluator')) or []
    evaluators = found if isinstance(found, (list, tuple)) else [found]
    return bool(evaluators) and all(e.get('format_only') for e in evaluators)


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


def _read_all(source: Source, samples: list[Sample], workers: int) -> list[Problem]:
    console = Console(stderr=True)
    what = f'reading {source.config.get("data_root") or "images"}'
    # What reads is built under a default scope, which threads share.
    _ = source.loader, source.annotations
    # Threads, as decoders release Python's lock.
    with ThreadPool(workers) as pool:
        results: Any = pool.imap(partial(check_sample, source), samples, _CHUNK)
        results = track(
            *(results, what, len(samples)),
            console=console,
            disable=not console.is_terminal,
        )
        return [problem for problems in results for problem in problems]
