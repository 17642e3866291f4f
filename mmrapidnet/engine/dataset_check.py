"""Check that the data sets a config names are there, before anything is built."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from mmengine.config import Config

from mmrapidnet.engine.config import iter_datasets
from mmrapidnet.errors import UserError

_ELSEWHERE = 'give the folder with --data-root DIR; `make quickstart` needs no data set'


def check_datasets(cfg: Config, dataloaders: list[str]) -> None:
    """Raise unless every data set of some dataloaders is where the config says.

    Args:
        cfg: The config of a run.
        dataloaders: Names of the dataloaders that will be used.

    Raises:
        UserError: In one line, what is missing or damaged and how the data set is
            laid out.
    """
    hint = _ELSEWHERE
    if cfg.get('shapes_root'):
        hint = f'make it: python tools/make_shapes.py {cfg.shapes_root}'
    for name in dataloaders:
        for dataset in iter_datasets(cfg.get(name)):
            if dataset.get('type') == 'ImageNet':
                _check_imagenet(dataset, hint)
            else:
                _check_dataset(dataset, hint)


def _check_dataset(dataset: dict[str, Any], hint: str) -> None:
    root = Path(dataset.get('data_root') or '')
    prefixes = dict(dataset.get('data_prefix') or {})
    ann_file = dataset.get('ann_file')
    wanted = [path for path in (ann_file, *prefixes.values()) if path]
    for path in wanted:
        if not (root / path).exists():
            raise UserError(
                f'no data set at {root or "."}: {root / path} is missing; expected '
                f'there: {", ".join(wanted)}; {hint}'
            )
    # COCO's own file is half a gigabyte: it is enough that one process reads it.
    if ann_file and str(ann_file).endswith('.json') and _is_first_process():
        _check_coco_json(root / ann_file, dataset)


def _check_imagenet(dataset: dict[str, Any], hint: str) -> None:
    from mmpretrain.datasets import ImageNet

    # What its arguments mean, without looking for images yet.
    arguments = {
        key: dataset[key] for key in dataset if key not in ('type', 'pipeline')
    }
    meant = ImageNet(**{**arguments, 'lazy_init': True})
    folder = Path(meant.img_prefix)
    listing = meant.ann_file or folder.parent / 'meta' / f'{folder.name}.txt'
    expected = f'one folder a class, or all images and {listing} beside it; {hint}'
    for path in (folder, meant.ann_file):
        if path and not Path(path).exists():
            raise UserError(
                f'no data set at {meant.data_root}: {path} is missing; expected there: '
                f'{expected}'
            )
    if meant.ann_file:
        _check_listing(Path(meant.ann_file), folder)
        return
    found = sum(path.is_dir() for path in folder.iterdir())
    if found != len(meant.CLASSES):
        raise UserError(
            f'{folder} holds {found} folders instead of {len(meant.CLASSES)}, one for '
            f'each class; expected there: {expected}'
        )
    images = (path for path in folder.rglob('*') if meant.is_valid_file(str(path)))
    if next(images, None) is None:
        raise UserError(
            f'the folders in {folder} hold no images '
            f'({", ".join(sorted(meant.extensions))}); {hint}'
        )


def _check_listing(path: Path, folder: Path) -> None:
    """Hold the first line of mmpretrain's list of images to what it must be."""
    with path.open() as lines:
        line = next(lines, '').strip()
    image, _, label = line.rpartition(' ')
    if not (image and label.isdigit()):
        raise UserError(
            f'{path} is not a list of images: its first line is {line!r}, expected '
            'the name of an image, a space and the number of its class'
        )
    if not (folder / image).is_file():
        raise UserError(
            f'{path} lists {image}, but {folder / image} is missing; if {folder} has '
            f'one folder a class instead, move {path} away'
        )


def _is_first_process() -> bool:
    """Whether this is rank 0, as the launchers say before anything is set up."""
    ranks = ('RANK', 'SLURM_PROCID', 'OMPI_COMM_WORLD_RANK')
    return all(os.environ.get(name, '0') == '0' for name in ranks)


def _check_coco_json(path: Path, dataset: dict[str, Any]) -> None:
    try:
        content = json.loads(path.read_text())
        categories = [category['name'] for category in content['categories']]
        _ = content['images'], content['annotations']
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f'{path} is not an annotation file in COCO JSON (images, annotations, '
            f'categories): {type(error).__name__} {error}'.replace('\n', ' ')
        ) from error
    # mmdet drops the objects of classes it does not know without a word.
    classes = (dataset.get('metainfo') or {}).get('classes')
    unknown = sorted(set(classes or ()) - set(categories))
    if unknown:
        raise UserError(
            f'{path} has no category {", ".join(unknown)}: its categories are '
            f'{", ".join(categories)}; put these into `classes` of the config'
        )
