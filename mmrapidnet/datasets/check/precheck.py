"""Check the data sets a config names before anything is built."""

from __future__ import annotations

import logging
import os
from collections import defaultdict
from collections.abc import Iterable

from mmengine.config import Config
from mmengine.logging import print_log

from mmrapidnet.datasets.check.class_counts import check_labels, check_two_classes
from mmrapidnet.datasets.check.evaluators import check_evaluators
from mmrapidnet.datasets.check.layout import check_layout
from mmrapidnet.datasets.check.model_classes import check_same_order
from mmrapidnet.datasets.check.problem import Problem
from mmrapidnet.datasets.check.run import check_sample, find_in_records, find_problems
from mmrapidnet.datasets.check.source import Sample, Source, sources_of
from mmrapidnet.utils.errors import UserError

_ALL = 'python tools/check_dataset.py with the same config tells all'
_A_FEW = 8


def check_datasets(cfg: Config, dataloaders: list[str], thorough: bool = False) -> None:
    """Raise unless every data set of some dataloaders can be trained and tested on.

    That is as far as can be told in seconds, from the annotations, the names and
    sizes of files and eight images of each data set, unless every image is to be read.
    What training leaves out or takes in its stride is logged.

    Args:
        cfg: The config of a run.
        dataloaders: Names of the dataloaders that will be used.
        thorough: Whether to read every image and label map.  Defaults to False.

    Raises:
        UserError: In one line, what is missing or damaged, and in which record.
    """
    found = []
    for source in sources_of(cfg, dataloaders):
        check_layout(source, cfg)
        # COCO's own file is half a gigabyte: it is enough that one process reads it.
        if _is_first_process():
            problems, samples = find_in_records(source)
            _raise_or_log(problems)
            found.append((source, samples))
    if not _is_first_process():
        return
    _raise_or_log(check_same_order(source for source, _ in found))
    _raise_or_log(check_labels(found))
    _raise_or_log(_stops_in_a_few_files(found))
    _raise_or_log(check_evaluators(cfg, dataloaders))
    if thorough:
        _raise_or_log(find_problems(cfg, dataloaders))


def _stops_in_a_few_files(found: list[tuple[Source, list[Sample]]]) -> list[Problem]:
    """What stops a run and can be told from a few images and label maps.

    Of each data set eight images, from all of its parts, are read with their label
    maps; then label maps until two classes have been met, which takes all of them only
    where there is but one.
    """
    mixed = [(source, _from_all_parts(samples)) for source, samples in found]
    few = ((source, sample) for source, all_ in mixed for sample in all_[:_A_FEW])
    problems = [p for source, sample in few for p in check_sample(source, sample)[0]]
    problems += check_two_classes(mixed)
    return [problem for problem in problems if problem.stops]


def _from_all_parts(samples: list[Sample]) -> list[Sample]:
    """All samples, the first few from the whole length of the list."""
    step = max(1, len(samples) // _A_FEW)
    return [sample for start in range(step) for sample in samples[start::step]]


def _raise_or_log(problems: Iterable[Problem]) -> None:
    kinds = defaultdict(list)
    for problem in problems:
        kinds[not problem.stops, problem.kind].append(problem)
    # Those that stop first.
    for (goes_on, _), alike in sorted(kinds.items(), key=lambda item: item[0]):
        more = f' (and {len(alike) - 1:,} more alike)' if len(alike) > 1 else ''
        line = f'{alike[0]}{more}; {_ALL}'
        if not goes_on:
            raise UserError(line)
        print_log(line, logger='current', level=logging.WARNING)


def _is_first_process() -> bool:
    """Whether this is rank 0, as the launchers say before anything is set up."""
    ranks = ('RANK', 'SLURM_PROCID', 'OMPI_COMM_WORLD_RANK')
    return all(os.environ.get(name, '0') == '0' for name in ranks)
