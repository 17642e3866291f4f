"""Images in ImageNet's layouts, as mmpretrain reads them."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

from mmengine.dataset import BaseDataset

from mmrapidnet.datasets.check.model_classes import find_moved
from mmrapidnet.datasets.check.problem import Problem
from mmrapidnet.datasets.check.source import Sample, Source


def class_samples(source: Source) -> tuple[list[Problem], list[Sample]]:
    """List the images of a data set by its list or folders, and what is wrong there."""
    dataset = source.dataset
    if dataset.ann_file:
        return _listed(Path(dataset.ann_file), source)
    if dataset.with_label and dataset.CLASSES:
        detail = _compare_folders(dataset)
        if detail:
            kind = 'folders of other classes'
            return [Problem(kind, dataset.img_prefix, detail)], []
    known = ', '.join(sorted(dataset.extensions))
    try:
        infos = dataset.load_data_list()
    except RuntimeError:  # no file at all
        detail = f'no file below it is one of {known}'
        return [Problem('no image left', dataset.img_prefix, detail)], []
    samples = [Sample(info['img_path'], label=info.get('gt_label')) for info in infos]
    if not dataset.with_label:
        return [], samples
    detail = f'left out, as it is none of {known}'
    others = _files_in(dataset) - {sample.image for sample in samples}
    return [
        Problem('file that is no image', path, detail, stops=False)
        for path in sorted(others)
    ], samples


def _compare_folders(dataset: BaseDataset) -> str | None:
    """Why the folders, which are numbered by the alphabet, are not the classes."""
    entries = os.scandir(dataset.img_prefix)
    folders = sorted(entry.name for entry in entries if entry.is_dir())
    classes = dataset.CLASSES
    if len(folders) != len(classes):
        return f'{len(folders)} folders instead of {len(classes)}, one for each class'
    moved = find_moved(folders, classes)
    if moved is None:
        return None
    name, folder, label = moved
    return (
        f'the folder {name} is number {folder} of them in alphabetical order, but '
        f'{label} of `classes`: give the names in the order of the folders'
    )


def _files_in(dataset: BaseDataset) -> set[str]:
    """All files in the folders of its classes."""
    return {
        os.path.join(place, file)
        for name in dataset.folder_to_idx
        for place, _, files in os.walk(os.path.join(dataset.img_prefix, name))
        for file in files
    }


def _listed(path: Path, source: Source) -> tuple[list[Problem], list[Sample]]:
    dataset = source.dataset
    problems, samples = [], []
    for number, line in enumerate(path.read_text().splitlines(), 1):
        record = f'line {number}'
        image, label = line.strip(), None
        if dataset.with_label:
            image, _, label = image.rpartition(' ')
            if not (image and label.isdigit()):
                detail = (
                    f'{line!r} instead of an image, a space and the number of a class'
                )
                problems.append(Problem('damaged line', str(path), detail, record))
                continue
            label = int(label)
            fault = _unknown(label, source)
            if fault:
                detail = f'{label} of {image}, but {fault}'
                problems.append(Problem('unknown class', str(path), detail, record))
        place = os.path.join(dataset.img_prefix, image)
        samples.append(Sample(place, f'{path}: {record}', label=label))
    if not samples:
        problems.append(Problem('no image left', str(path), 'it lists none'))
    times = Counter(sample.image for sample in samples)
    for sample in samples:
        if times[sample.image] > 1:
            kind = 'image listed twice'
            detail = f'listed {times[sample.image]} times, and learnt as often'
            twice = Problem(kind, sample.image, detail, sample.record, stops=False)
            problems.append(twice)
    return problems, samples


def _unknown(label: int, source: Source) -> str | None:
    """Why a label stands for no class; None if it does for one."""
    classes = source.dataset.CLASSES
    if classes is not None:
        counts = {f'there are {len(classes)} classes': len(classes)}
    else:
        # Without names, the model alone says how many there are.
        counts = {
            f'{head.path}.{name}={count}': count
            for head in source.heads
            for name, count in head.counts.items()
        }
    return next((told for told, count in counts.items() if label >= count), None)
