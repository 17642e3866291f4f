"""Are the folders and files of a data set where the config says?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmengine.config import Config

from mmrapidnet.config.type_names import type_name
from mmrapidnet.utils.errors import UserError

_ELSEWHERE = 'give the folder with --data-root DIR; `make quickstart` needs no data set'


def hint_of(cfg: Config) -> str:
    """Say where the data sets of a config come from.

    Args:
        cfg: The config of a run.

    Returns:
        What to do if one is missing.
    """
    if cfg.get('shapes_root'):
        return f'make it: python tools/make_shapes.py {cfg.shapes_root}'
    return _ELSEWHERE


def check_layout(dataset: dict[str, Any], hint: str) -> None:
    """Raise unless a data set is where the config says.

    Args:
        dataset: The config of the data set.
        hint: What to do if it is not.

    Raises:
        UserError: In one line, what is missing and how the data set is laid out.
    """
    _check_classes(dataset)
    if type_name(dataset) == 'ImageNet':
        _check_imagenet(dataset, hint)
        return
    root = Path(dataset.get('data_root') or '')
    prefixes = dataset.get('data_prefix') or {}
    if isinstance(prefixes, str):
        prefixes = dict(img_path=prefixes)
    wanted = [path for path in (dataset.get('ann_file'), *prefixes.values()) if path]
    for path in wanted:
        if not (root / path).exists():
            raise UserError(
                f'no data set at {root or "."}: {root / path} is missing; expected '
                f'there: {", ".join(wanted)}; {hint}'
            )


def _check_classes(dataset: dict[str, Any]) -> None:
    """Refuse a name where names belong: its letters would be the classes."""
    given = [(dataset.get('metainfo') or {}).get('classes'), dataset.get('classes')]
    for classes in given:
        if isinstance(classes, str) and not Path(classes).expanduser().is_file():
            raise UserError(
                f'classes={classes!r} of the data set is one name (or a file that is '
                'not there), so that its letters would be the classes: one class '
                f'needs a comma, classes=({classes!r},)'
            )


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
