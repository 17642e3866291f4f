"""Images in ImageNet's layouts, as mmpretrain reads them."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from mmrapidnet.data_check.problem import Problem
from mmrapidnet.data_check.sample import Sample
from mmrapidnet.data_check.source import Source


def class_samples(source: Source) -> tuple[list[Problem], list[Sample]]:
    """List the images of a data set, by its list or by its folders.

    Args:
        source: A data set of mmpretrain.

    Returns:
        What is wrong with the list or the folders, and the samples.
    """
    dataset = source.dataset
    if dataset.ann_file:
        return _listed(Path(dataset.ann_file), dataset.img_prefix, dataset.CLASSES)
    samples = [Sample(info['img_path']) for info in dataset.load_data_list()]
    return list(_folders(dataset, samples)), samples


def _folders(dataset, samples: list[Sample]) -> Iterator[Problem]:
    used = {sample.image for sample in samples}
    for name in sorted(dataset.folder_to_idx):
        folder = os.path.join(dataset.img_prefix, name)
        files = [
            os.path.join(place, file)
            for place, _, files in os.walk(folder)
            for file in files
        ]
        if not used.intersection(files):
            detail = 'nothing is learnt of its class'
            yield Problem('class without images', folder, detail, stops=False)
        for path in sorted(set(files) - used):
            detail = (
                f'left out, as it is none of {", ".join(sorted(dataset.extensions))}'
            )
            yield Problem('file that is no image', path, detail, stops=False)


def _listed(
    path: Path, folder: str, classes: tuple[str, ...]
) -> tuple[list[Problem], list[Sample]]:
    problems, samples = [], []
    for number, line in enumerate(path.read_text().splitlines(), 1):
        record = f'line {number}'
        image, _, label = line.strip().rpartition(' ')
        if not (image and label.isdigit()):
            detail = f'{line!r} instead of an image, a space and the number of a class'
            problems.append(Problem('damaged line', str(path), detail, record))
            continue
        if int(label) >= len(classes):
            detail = f'{label} of {image}, but there are {len(classes)} classes'
            problems.append(Problem('unknown class', str(path), detail, record))
        samples.append(Sample(os.path.join(folder, image), f'{path}: {record}'))
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
