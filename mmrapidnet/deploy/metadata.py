"""What an exported file says of itself, and whether that fits what is asked of it."""

from __future__ import annotations

import hashlib
import json
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.fileio import get_local_path
from mmengine.registry import DATASETS
from torch.nn.modules.batchnorm import _BatchNorm

from mmrapidnet.checkpoints.dataset_meta import get_labels, is_names, is_palette
from mmrapidnet.checkpoints.save import sha256_of
from mmrapidnet.checkpoints.state_dict import read_checkpoint
from mmrapidnet.config.load import iter_datasets
from mmrapidnet.utils.errors import UserError, sanitize
from mmrapidnet.version import __version__

if TYPE_CHECKING:
    from mmrapidnet.deploy.graphs import Graph

# Where a format's own metadata holds ours, as JSON.
KEY = 'mmrapidnet'
VERSION = 1

# Number of channels of an image: their order.
_ORDERS = {1: 'gray', 3: 'bgr', 4: 'bgra'}

# Parts of a model's config that say nothing of the trained network, or that building
# it writes there.
_NOT_HASHED = (
    'data_preprocessor',
    'init_cfg',
    'pretrained',
    'train_cfg',
    'test_cfg',
    'teacher',
    'distillation',
)


def describe(
    cfg: Config | None,
    graph: Graph,
    precision: str,
    checkpoint: str | None = None,
    size: tuple[int, int] | None = None,
    channels: int = 3,
) -> dict[str, Any]:
    """Say what a file is going to hold.

    Args:
        cfg: The config of the model; None for a model without one.
        graph: What is exported.
        precision: 'fp32', 'fp16', 'bf16' or 'int8'.
        checkpoint: Path or URL of the weights. Defaults to None: none.
        size: Height and width if they are fixed. Defaults to None: any.
        channels: Channels of an image, as the config's pipeline reads it. Defaults to
            3.

    Returns:
        What JSON can hold: ``version`` of this description, ``kind`` and ``outputs``
        of the graph, ``input`` (``name``, ``channels``, ``channel_order``, ``range``,
        ``size`` [H, W] or None, ``batch`` or None, ``multiple``), ``prompts`` (shapes
        of further inputs by name), ``precision``, ``fused``, ``scope``, ``config``
        (file name), ``model_sha256``, ``classes``, ``palette``, ``checkpoint``
        (``name``, ``sha256``) and ``versions``.
    """
    return {
        'version': VERSION,
        'kind': graph.kind,
        'outputs': list(graph.outputs),
        'input': {
            'name': graph.input,
            'channels': channels,
            'channel_order': _ORDERS.get(channels, 'as in the file'),
            'range': [0, 255],
            'size': size and list(size),
            'batch': None if graph.batched else 1,
            'multiple': 1,  # of which height and width are: any
        },
        'prompts': {name: list(shape) for name, shape in graph.prompts.items()},
        'precision': precision,
        'fused': not any(isinstance(m, _BatchNorm) for m in graph.module.modules()),
        **_describe_config(cfg, checkpoint),
        'checkpoint': checkpoint and _describe_checkpoint(checkpoint),
        'versions': {
            'mmrapidnet': __version__,
            'torch': torch.__version__,
        },
    }


def to_text(metadata: dict[str, Any], *packages: str, batch: int | None = None) -> str:
    """Write metadata as a file holds them, which `from_text` reads.

    Args:
        metadata: What `describe` gave.
        *packages: The distributions that wrote the file; their versions are put in.
        batch: Number of images, if the format fixes it. Defaults to None: as the
            graph has it.

    Returns:
        JSON.
    """
    image = {**metadata['input'], 'batch': batch or metadata['input']['batch']}
    versions = {**metadata['versions'], **{name: version(name) for name in packages}}
    return json.dumps({**metadata, 'input': image, 'versions': versions})


def from_text(text: str | None, path: Path) -> dict[str, Any]:
    """Read the metadata of a file.

    Args:
        text: What the file holds under `KEY`; None if nothing.
        path: The file, for the message.

    Returns:
        What `to_text` was given, and put in.

    Raises:
        UserError: If there is none, or none of ours, or of another version.
    """
    try:
        metadata = json.loads(text or '')
        found = metadata['version']
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise UserError(
            f'{path} does not say what it holds (no metadata called {KEY}): it was not '
            'written by tools/export.py; export the checkpoint again'
        ) from error
    if found != VERSION:
        raise UserError(
            f'{path} describes itself in version {sanitize(found)}, but this '
            f'mmrapidnet {__version__} reads version {VERSION}: export it again'
        )
    given = {'settings': {}, **metadata}  # which not every file has
    for key, holds in _FIELDS.items():
        if key not in given or not holds(given[key]):
            raise UserError(
                f'{path} describes itself wrongly ({KEY}: {key}): it is damaged or was '
                'not written by tools/export.py; export the checkpoint again'
            )
    return metadata


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 < value < 1 << 31


def _is_input(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and {'size', 'batch'} <= set(value)
        and (value['size'] is None or _is_size(value['size']))
        and (value['batch'] is None or _is_count(value['batch']))
        and _is_count(value.get('channels', 3))
    )


def _is_size(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(map(_is_count, value))


def _are_settings(value: Any) -> bool:
    return isinstance(value, dict) and all(
        key in _SETTINGS and _SETTINGS[key](setting) for key, setting in value.items()
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, (bool, int, float, type(None)))


def _is_resizing(value: Any) -> bool:
    """Whether it is the ``head`` and ``strides`` of masks of the whole image."""
    if not isinstance(value, dict) or set(value) != {'head', 'strides'}:
        return False
    strides = value['strides']
    return (
        value['head'] in _MASK_HEADS
        and isinstance(strides, list)
        and len(strides) in (1, 2)
        and all(map(_is_count, strides))
    )


def _is_triple(value: Any) -> bool:
    return (
        isinstance(value, list)
        and len(value) == 3
        and all(type(number) in (int, float) for number in value)
    )


_MASK_HEADS = ('RTMDetInsHead', 'CondInstMaskHead', 'SOLOV2Head')
# What is read of a file's own description, and what each must be.
_SETTINGS = {
    'mask_threshold': _is_number,
    'mask_resizing': _is_resizing,
    'query_stride': _is_count,
    'divisor': _is_count,
    'things': _is_count,
    'mask_overlap': _is_number,
    'stuff_area_limit': _is_number,
    'align_corners': _is_number,
    'threshold': _is_number,
    'pad_value': _is_triple,
    'embedding': _is_triple,
}
_FIELDS = {
    'kind': _is_text,
    'outputs': is_names,
    'precision': _is_text,
    'input': _is_input,
    'classes': lambda names: names is None or is_names(names),
    'palette': is_palette,
    'settings': _are_settings,
}


def channels_of(metadata: dict[str, Any]) -> int:
    """How many channels the images have that a file takes.

    Args:
        metadata: The file's; older ones do not say it.

    Returns:
        Their number.
    """
    return metadata['input'].get('channels', 3)


def check_config(metadata: dict[str, Any], cfg: Config, path: str | Path) -> None:
    """Hold a file to a config.

    Args:
        metadata: The file's.
        cfg: The config whose model it is to hold.
        path: The file, for the message.

    Raises:
        UserError: If it was exported from another model.
    """
    if metadata.get('model_sha256') == hash_model(cfg):
        return
    config = Path(cfg.filename).name if cfg.filename else 'the config given'
    raise UserError(
        f'{path} was exported from the model of {sanitize(metadata.get("config"))}, '
        'which is not '
        f'that of {config}: give the config (and options) it was exported with'
    )


def check_size(metadata: dict[str, Any], size: tuple[int, int], path: Path) -> None:
    """Hold the size of images to what a file takes.

    Args:
        metadata: The file's.
        size: Height and width.
        path: The file, for the message.

    Raises:
        UserError: If the file has another size.
    """
    taken = metadata['input']['size']
    if taken and list(size) != taken:
        raise UserError(
            f'{path} takes images of {taken[0]}x{taken[1]} only (height x width), not '
            f'of {size[0]}x{size[1]}: resize them, or export it with that size'
        )


def check_image(
    metadata: dict[str, Any],
    image: np.ndarray,
    path: Path,
    size: tuple[int, int] | None = None,
) -> None:
    """Hold a batch of images to what a file takes.

    Args:
        metadata: The file's.
        image: The batch.
        path: The file, for the message.
        size: Height and width that the file was opened for. Defaults to None: any
            that it takes.

    Raises:
        UserError: If it is not float32 of (N, C, H, W), with the file's N, C, H and W.
    """
    channels = channels_of(metadata)
    if image.ndim != 4 or image.shape[1] != channels or image.dtype != np.float32:
        raise UserError(
            f'{path} takes images as float32 (N, {channels}, H, W), not as '
            f'{image.dtype} {image.shape}'
        )
    batch = metadata['input']['batch']
    if batch and len(image) != batch:
        raise UserError(
            f'{path} takes {batch} image at a time, not {len(image)}: give them one '
            'after another'
        )
    check_size(metadata, image.shape[2:], path)
    if size is not None and image.shape[2:] != tuple(size):
        raise UserError(
            f'{path} was opened for images of {size[0]}x{size[1]} (height x width), '
            f'not of {image.shape[2]}x{image.shape[3]}'
        )


def hash_model(cfg: Config) -> str:
    """The SHA-256 of what a config says of the network and its thresholds.

    Initialisation, training and pre-processing are left out: a file has its own.

    Args:
        cfg: A config with a ``model``.

    Returns:
        64 hexadecimal digits.
    """
    model = cfg.model.to_dict()
    hashed = {'model': _strip(model), 'test_cfg': model.get('test_cfg')}
    text = json.dumps(hashed, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def _strip(node: Any) -> Any:
    if isinstance(node, dict):
        return {k: _strip(v) for k, v in node.items() if k not in _NOT_HASHED}
    if isinstance(node, (list, tuple)):
        return [_strip(item) for item in node]
    return node


def _describe_config(cfg: Config | None, checkpoint: str | None) -> dict[str, Any]:
    if cfg is None:
        keys = ('scope', 'config', 'model_sha256', 'classes', 'palette')
        return dict.fromkeys(keys)
    labels = labels_of_config(cfg)
    if checkpoint:
        labels.update(get_labels(read_checkpoint(checkpoint), checkpoint))
    labels = {key: labels.get(key) for key in ('classes', 'palette')}
    return {
        'scope': cfg.get('default_scope'),
        'config': Path(cfg.filename).name if cfg.filename else None,
        'model_sha256': hash_model(cfg),
        # Arrays and tuples as the lists that JSON has.
        **json.loads(json.dumps(labels, default=lambda array: array.tolist())),
    }


def _describe_checkpoint(checkpoint: str) -> dict[str, str]:
    with get_local_path(checkpoint) as path:
        return {'name': Path(checkpoint).name, 'sha256': sha256_of(Path(path))}


def labels_of_config(cfg: Config) -> dict[str, Any]:
    """Find the names and colours of the classes that a config's test set has.

    Args:
        cfg: The config.

    Returns:
        ``classes`` and ``palette``, each if the data set names them.
    """
    dataset = next(iter_datasets(cfg.get('test_dataloader') or {}))
    with DATASETS.switch_scope_and_registry(cfg.get('default_scope')) as registry:
        kind = dataset.get('type')
        kind = registry.get(kind) if isinstance(kind, str) else kind
    return {**getattr(kind, 'METAINFO', {}), **(dataset.get('metainfo') or {})}
