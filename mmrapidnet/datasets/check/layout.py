"""Are the folders and files of a data set where the config says?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.dataset import BaseDataset

from mmrapidnet.config.type_names import type_name
from mmrapidnet.datasets.check.coco.read import has_byte_order_mark
from mmrapidnet.datasets.check.source import Source
from mmrapidnet.utils.errors import UserError


def check_layout(source: Source, cfg: Config) -> None:
    """Raise unless a data set is where the config says.

    Args:
        source: The data set.
        cfg: The config of the run.

    Raises:
        UserError: In one line, what is missing, how the data set is laid out, and
            where it comes from.
    """
    hint = 'give the folder with --data-root DIR; `make quickstart` needs no data set'
    if cfg.get('shapes_root'):
        hint = f'make it: python tools/make_shapes.py {cfg.shapes_root}'
    _check_prefix(source)
    _check_classes(source.config)
    _check_lists(source)
    if type_name(source.config) == 'ImageNet':
        _check_imagenet(source.dataset, hint)
    else:
        _check_paths(source, hint)


def _check_prefix(source: Source) -> None:
    """Refuse a text where only mmpretrain takes one."""
    prefix = source.config.get('data_prefix')
    if isinstance(prefix, str) and source.scope != 'mmpretrain':
        key = 'img' if source.scope == 'mmdet' else 'img_path'
        raise UserError(
            f'data_prefix={prefix!r} of the {type_name(source.config)} is a text, but '
            f'{source.scope} takes a dict: data_prefix=dict({key}={prefix!r})'
        )


def _check_paths(source: Source, hint: str) -> None:
    dataset = source.config
    root = Path(dataset.get('data_root') or '')
    prefixes = dataset.get('data_prefix') or {}
    if isinstance(prefixes, str):
        prefixes = dict(img_path=prefixes)
    folders = [
        folder
        for key, folder in prefixes.items()
        if key != 'seg_map_path' or source.needs_label_maps
    ]
    wanted = [path for path in (dataset.get('ann_file'), *folders) if path]
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


def _check_lists(source: Source) -> None:
    """Refuse lists of images or classes whose first line has a mark of bytes before it.

    COCO's JSON with one is told of where it is read, and can be corrected.
    """
    given = [(source.config.get('metainfo') or {}).get('classes')]
    given += [source.config.get('classes'), source.dataset.ann_file]
    for path in given:
        is_list = isinstance(path, str) and not path.endswith('.json')
        if is_list and Path(path).is_file() and has_byte_order_mark(path):
            raise UserError(
                f'{path} begins with a byte-order mark, which would be read as part of '
                'its first line: save it as UTF-8 without one'
            )


def _check_imagenet(dataset: BaseDataset, hint: str) -> None:
    folder = Path(dataset.img_prefix)
    listing = dataset.ann_file or folder.parent / 'meta' / f'{folder.name}.txt'
    expected = f'one folder per class, or all images and {listing} beside it; {hint}'
    for path in (folder, dataset.ann_file):
        if path and not Path(path).exists():
            raise UserError(
                f'no data set at {dataset.data_root}: {path} is missing; expected '
                f'there: {expected}'
            )
    if dataset.ann_file:
        _check_listing(Path(dataset.ann_file), folder)
        return
    found = sum(path.is_dir() for path in folder.iterdir())
    if found != len(dataset.CLASSES):
        raise UserError(
            f'{folder} holds {found} folders instead of {len(dataset.CLASSES)}, one '
            f'for each class; expected there: {expected}'
        )
    images = (path for path in folder.rglob('*') if dataset.is_valid_file(str(path)))
    if next(images, None) is None:
        raise UserError(
            f'the folders in {folder} hold no images '
            f'({", ".join(sorted(dataset.extensions))}); {hint}'
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
            f'one folder per class instead, move {path} away'
        )
