"""Are the images and labels that are evaluated those that are tested?"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path, PurePath
from typing import Any

from mmengine.config import Config

from mmrapidnet.config.evaluators import evaluates_apart, list_metrics
from mmrapidnet.config.type_names import type_name
from mmrapidnet.datasets.check.coco.check import coco_samples, reads_coco
from mmrapidnet.datasets.check.label_maps import UNLABELLED
from mmrapidnet.datasets.check.problem import Problem
from mmrapidnet.datasets.check.source import Source, sources_of
from mmrapidnet.utils.errors import UserError


def check_evaluators(cfg: Config, dataloaders: list[str]) -> Iterator[Problem]:
    """Hold evaluators to their data sets.

    Evaluators of mmdet read ground truth by the ids of the images, whatever file they
    are of.  A file that knows further images is no matter: those tested count.  mmseg's
    count what is predicted for pixels without a class as mistakes, unless they know the
    label of these.

    Args:
        cfg: The config of a run, whose data sets can be read.
        dataloaders: Names of dataloaders; that of training has no evaluator.

    Yields:
        Missing and damaged files, images that are not those of the data set, and
        another `ignore_index`; a note where another file with the same images is meant.
    """
    for name in dataloaders:
        evaluator = name.replace('dataloader', 'evaluator')
        sources = list(sources_of(cfg, [name]))
        for metric in list_metrics(cfg.get(evaluator)):
            if type_name(metric) == 'IoUMetric' and not metric.get('format_only'):
                for source in sources:
                    yield from _compare_ignored(evaluator, metric, source)
        for file in dict.fromkeys(_annotation_files(cfg.get(evaluator))):
            if not Path(file).is_file():
                yield Problem('missing annotation file', file, f'of {evaluator}')
                continue
            place = os.path.realpath(file)
            others = [
                s for s in sources if os.path.realpath(s.dataset.ann_file) != place
            ]
            faults = [fault for s in others for fault in _check_file(file, s)]
            yield from faults
            if others and not faults:
                images = json.loads(Path(file).read_bytes())['images']
                known = {image['id']: image for image in images}
                yield from (_compare(evaluator, file, known, s) for s in others)


def find_contradiction(
    known: Mapping[Any, dict[str, Any]], image_id: Any, path: str | None
) -> str | None:
    """Compare an image that is tested with what ground truth is read for its id.

    Args:
        known: The evaluator's records of images, by id.
        image_id: The id that the data set has for the image.
        path: The image's file; None if it is not known.

    Returns:
        What contradicts; None if they agree.

    Examples:
        >>> known = {7: {'file_name': 'sub/a.jpg'}}
        >>> find_contradiction(known, 7, 'data/sub/a.jpg')
        >>> find_contradiction(known, 7, 'data/b.jpg')
        'id 7 is sub/a.jpg there, data/b.jpg here'
        >>> find_contradiction(known, 8, 'data/c.jpg')
        'id 8 (data/c.jpg) is not there'
    """
    if image_id not in known:
        return f'id {image_id} ({path}) is not there'
    name = known[image_id].get('file_name')
    if not (name and path):
        return None
    parts = PurePath(name).parts
    if parts != PurePath(path).parts[-len(parts) :]:
        return f'id {image_id} is {name} there, {path} here'
    return None


def _annotation_files(evaluator: Any) -> Iterator[str]:
    # Which metric is of which data set is only known in a run.
    if not evaluates_apart(evaluator):
        for metric in list_metrics(evaluator):
            if metric.get('ann_file'):
                yield metric['ann_file']


def _check_file(file: str, source: Source) -> list[Problem]:
    """Find what stops a run in a file that is read in the place of a data set's own."""
    other = replace(source, config={**source.config, 'ann_file': os.path.abspath(file)})
    if not reads_coco(other.dataset):
        return []
    try:
        problems = coco_samples(other)[0]
    except UserError as error:
        return [Problem('unusable annotation file', file, str(error))]
    return [problem for problem in problems if problem.stops]


def _compare_ignored(
    evaluator: str, metric: dict[str, Any], source: Source
) -> Iterator[Problem]:
    own, ignored = metric.get('ignore_index', UNLABELLED), source.dataset.ignore_index
    if own != ignored:
        kind = 'other ignore_index than the evaluator'
        detail = (
            f'{ignored}, but ignore_index={own} in {evaluator}; give both the label '
            'that stands for no class'
        )
        yield Problem(kind, source.name, detail)


def _compare(
    evaluator: str, file: str, known: Mapping[Any, dict[str, Any]], source: Source
) -> Problem:
    dataset = source.dataset
    dataset.full_init()
    for info in map(dataset.get_data_info, range(len(dataset))):
        fault = find_contradiction(known, info['img_id'], info['img_path'])
        if fault:
            detail = f'not the images of {source.name}, which are tested: {fault}'
            return Problem('evaluator of other images', file, detail, evaluator)
    kind = 'evaluator with a file of its own'
    detail = f'it has the images of {source.name}, and its annotations count'
    return Problem(kind, file, detail, evaluator, stops=False)
