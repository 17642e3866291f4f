"""Images in ImageNet's layouts, as mmpretrain reads them."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from mmengine.dataset import BaseDataset

from mmrapidnet.datasets.check.problem import Problem
from mmrapidnet.datasets.check.source import Sample, Source


def class_samples(source: Source) -> tuple[list[Problem], list[Sample]]:
    """List the images of a data set, by its list or by its folders.

    Args:
        source: A data set of mmpretrain.

    Returns:
        What is wrong with the list or the folders, and the samples.
    """
    dataset = source.dataset
    if dataset.ann_file:
        return _listed(Path(dataset.ann_file), source)
    fault = _unlike_the_classes(source)
    if fault:
        return [Problem('folders of other classes', dataset.img_prefix, fault)], []
    try:
        infos = dataset.load_data_list()
    except RuntimeError:  # no file at all
        detail = f'no file below it is one of {", ".join(sorted(dataset.extensions))}'
        return [Problem('no image left', dataset.img_prefix, detail)], []
    samples = [Sample(info['img_path'], label=info.get('gt_label')) for info in infos]
    return list(_folders(dataset, samples)) if dataset.with_label else [], samples


def _unlike_the_classes(source: Source) -> str | None:
    dataset = source.dataset
    if not (dataset.with_label and dataset.CLASSES):
        return None
    folders = sum(entry.is_dir() for entry in os.scandir(dataset.img_prefix))
    if folders == len(dataset.CLASSES):
        return None
    return f'{folders} folders instead of {len(dataset.CLASSES)}, one for each class'


def _folders(dataset: BaseDataset, samples: list[Sample]) -> Iterator[Problem]:
    used = {sample.image for sample in samples}
    for name in sorted(dataset.folder_to_idx):
        folder = os.path.join(dataset.img_prefix, name)
        files = [
            os.path.join(place, file)
            for place, _, files in os.walk(folder)
            for file in files
        ]
        for path in sorted(set(files) - used):
            detail = (
                f'left out, as it is none of {", ".join(sorted(dataset.extensions))}'
            )
            yield Problem('file that is no image', path, detail, stops=False)


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
    repeated = Counter(sample.image for sample in samples)
    for sample in samples:
        if repeated[sample.image] > 1:
            detail = f'listed {repeated[sample.image]} times, and learnt as often'
            problems.append(
                Problem(
                    'image listed twice', sample.image, detail, sample.record, False
                )
            )
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
