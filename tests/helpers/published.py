"""Files as their authors publish them, also of models an eighth as wide."""

import contextlib
import functools
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.registry import MODELS

from helpers import golden
from helpers.commands import REPO
from helpers.tiny_models import THIN_HEADS
from mmrapidnet.checkpoints.convert.convert import Conversion, convert_checkpoint
from mmrapidnet.checkpoints.convert.expected import Shapes, classifier_shapes
from mmrapidnet.checkpoints.convert.key_maps import AUTHORS
from mmrapidnet.checkpoints.state_dict import read_checkpoint

CONFIGS = REPO / 'configs'
KEY_MAPS = {key_map.family: key_map for key_map in AUTHORS}
# The smallest model of each family.
SMALL = ('rapidnet_ti', 'mobilevig_ti', 'repvit_m0_6')


def published_keys(model: str, names: Iterable[str]) -> dict[str, str]:
    """How the authors' file calls the tensors of a model such as 'rapidnet_s'."""
    return KEY_MAPS[model.partition('_')[0]].published_keys(names)


_BACKBONES = [MODELS.get(key_map.backbone) for key_map in AUTHORS]
_THIN_ARCHS = [
    {
        arch: {**settings, 'channels': [c // 8 for c in settings['channels']]}
        for arch, settings in backbone.arch_settings.items()
    }
    for backbone in _BACKBONES
]


@contextlib.contextmanager
def thin_archs() -> Iterator[None]:
    """Let all archs have an eighth of their channels, and as many blocks."""
    with pytest.MonkeyPatch.context() as patch:
        for backbone, archs in zip(_BACKBONES, _THIN_ARCHS, strict=True):
            patch.setattr(backbone, 'arch_settings', archs)
        yield


def shapes_of(model: str, hidden: int = 16) -> Shapes:
    """Our names of a classifier's tensors, with their shapes, for 1000 classes."""
    family, _, arch = model.partition('_')
    key_map = KEY_MAPS[family]
    lengths = {'hidden_channels': hidden, 'num_classes': 1000}
    sizes = {
        name: torch.empty(lengths[argument], device='meta')
        for argument, name in key_map.classifier_sizes.items()
    }
    return classifier_shapes(key_map, arch, sizes, model)


@functools.cache
def thin_state(model: str) -> dict[str, torch.Tensor]:
    """The published state dict of a thin classifier, filled by its names."""
    with thin_archs():
        shapes = shapes_of(model)
    return {
        theirs: golden.parameter(theirs, tuple(shapes[ours]))
        for ours, theirs in published_keys(model, shapes).items()
    }


def convert(
    content: dict[str, Any], folder: Path, **options: Any
) -> tuple[Conversion, dict[str, Any]]:
    """Convert what a published file holds, from published.pth to ours.pth.

    Returns:
        What was done, and the content of the new file.
    """
    src, dst = folder / 'published.pth', folder / 'ours.pth'
    torch.save(content, src)
    done = convert_checkpoint(src, dst, **{'configs': CONFIGS, **options})
    return done, read_checkpoint(str(dst))


def assert_converted(
    content: dict[str, Any], model: str, source: dict[str, torch.Tensor]
) -> None:
    """The converted file has each of the model's tensors from its source."""
    shapes = shapes_of(model)
    names = published_keys(model, shapes)
    assert set(content['state_dict']) == set(shapes)
    assert len(set(names.values())) == len(names) == len(source)
    for ours, value in content['state_dict'].items():
        assert torch.equal(value, source[names[ours]]), ours
        assert value.dtype == source[names[ours]].dtype


def write_thin_config(name: str, folder: Path) -> Path:
    """Write a dense model's config with thin heads, for a backbone of `thin_archs`."""
    method, family, arch = name.rpartition('_')[0].split('_', 2)
    channels = MODELS.get(KEY_MAPS[family].backbone).arch_settings[arch]['channels']
    path = folder / f'{name}.py'
    path.write_text(
        f"_base_ = '{CONFIGS / path.name}'\n"
        f'model = dict(neck=dict(in_channels={channels}, out_channels=16), '
        f'{_THIN_HEADS[method]})\n'
    )
    return path


_THIN_HEADS = {
    'maskrcnn': THIN_HEADS,
    'semfpn': 'decode_head=dict(in_channels=[16] * 4, channels=16)',
}
