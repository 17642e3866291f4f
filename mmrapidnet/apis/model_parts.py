"""What the parts of a config's model cost: stages of the backbone, neck and heads."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from mmengine.analysis import FlopAnalyzer
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import DefaultScope
from rich.table import Table
from torch import Tensor, nn

from mmrapidnet.apis.complexity import (
    analyze,
    count_macs,
    count_parameters,
    list_uncounted,
)
from mmrapidnet.config.libraries import require_library
from mmrapidnet.deploy.loading import build_model
from mmrapidnet.utils.errors import UserError, in_one_line

# Height and width in pixels that papers give figures for.
SIZES = {'mmdet': (800, 1280), 'mmseg': (512, 512), 'mmpretrain': (224, 224)}


@dataclass(frozen=True)
class Part:
    """What a part of a model costs.

    Attributes:
        name: What the model calls it.
        params: Number of its parameters.
        macs: Its multiply-accumulates for one image, None if they cannot be counted.
        note: What else there is to say of it.
    """

    name: str
    params: int
    macs: int | None
    note: str = ''


def measure_config(
    cfg: Config, size: tuple[int, int] | None = None
) -> tuple[list[Part], tuple[int, int]]:
    """Count what the parts of a config's model cost, as it is trained (not fused).

    Args:
        cfg: A config of mmdet, mmsegmentation or mmpretrain.
        size: Height and width of the image that the network sees. Defaults to None: as
            in papers, 224x224 of a classifier, 512x512 of a segmenter and 800x1280 of
            a detector.

    Returns:
        The parts, the whole last, and the size.

    Raises:
        UserError: If the model cannot be built or takes no image of that size.
    """
    scope = require_library(cfg)
    size = size or SIZES[scope]
    if 'model' not in cfg:
        raise UserError(f'{cfg.filename} has no model')
    with DefaultScope.overwrite_default_scope(scope):
        with in_one_line(f'the model of {cfg.filename} cannot be built'):
            model = revert_sync_batchnorm(build_model(cfg)).eval()
        with in_one_line(
            f'the model of {cfg.filename} cannot be run on an image of {size[0]}x'
            f'{size[1]} (--size HEIGHT WIDTH)'
        ):
            return measure_parts(model, size), size


def measure_parts(model: nn.Module, size: tuple[int, int]) -> list[Part]:
    """Count what the parts of a model cost.

    Of a detector in two stages the heads of the second are counted for as many boxes as
    its ``test_cfg`` lets through; taking their features out of the maps is not.

    Args:
        model: A model of mmdet, mmsegmentation or mmpretrain, in evaluation mode.
        size: Height and width of the image in pixels.

    Returns:
        The parts, the whole last.
    """
    image = torch.zeros(1, count_channels(model), *size)
    counter = analyze(_Inference(model), image)
    dense = {n: m for n, m in _list_parts(model) if not n.startswith('roi_head.')}
    parts = [_measure_part(name, module, counter) for name, module in dense.items()]
    parts += _measure_roi_heads(model) if hasattr(model, 'roi_head') else []
    parts.append(_measure_rest(model, dense, counter))
    counts = [part.macs for part in parts]
    total = None if None in counts else sum(counts)
    return [
        *(part for part in parts if part.params or part.macs != 0),
        Part('whole model', count_parameters(model), total),
    ]


def count_channels(model: nn.Module) -> int:
    """Count the channels of the images that a model takes.

    Args:
        model: A model whose first convolution is given the image.

    Returns:
        Their number.
    """
    return next(m for m in model.modules() if isinstance(m, nn.Conv2d)).in_channels


def make_table(parts: list[Part], title: str) -> Table:
    """Lay parts out to be read.

    Args:
        parts: What `measure_parts` gave.
        title: Title of the table.

    Returns:
        The table, to be printed with rich.
    """
    table = Table('part', 'parameters (M)', 'multiply-accumulates (G)', '', title=title)
    for column in table.columns[1:3]:
        column.justify = 'right'
    for part in parts:
        if part is parts[-1]:
            table.add_section()
        macs = '?' if part.macs is None else f'{part.macs / 1e9:.3f}'
        table.add_row(part.name, f'{part.params / 1e6:.3f}', macs, part.note)
    return table


class _Inference(nn.Module):
    """A model as far as it computes the same for every image of a size."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        return tuple(_tensors(_run(self.model, image)))


def _run(model: nn.Module, image: Tensor) -> Any:
    # Heads are called and not their forward(), which would not count as theirs.
    if hasattr(model, 'roi_head'):
        maps = model.extract_feat(image)
        return [maps, model.rpn_head(maps) if model.with_rpn else ()]
    if hasattr(model, 'decode_head'):
        maps, logits = model.extract_feat(image), ()
        heads = model.decode_head
        for head in heads if isinstance(heads, nn.ModuleList) else [heads]:
            logits = head(maps) if logits == () else head(maps, logits)
        return logits
    if any(kind.__module__.startswith('mmdet.') for kind in type(model).__mro__):
        return model(image, [_describe_image(image)], mode='tensor')
    return model(image, mode='tensor')


def _describe_image(image: Tensor) -> Any:
    from mmdet.structures import DetDataSample

    size = tuple(map(int, image.shape[2:]))  # numbers when traced by torch 2.1, too
    names = ('img_shape', 'ori_shape', 'pad_shape', 'batch_input_shape')
    return DetDataSample(
        metainfo={**dict.fromkeys(names, size), 'scale_factor': (1, 1)}
    )


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        yield from _tensors(list(value.values()))
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _tensors(item)


def _list_parts(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """The parts of a model; of backbone and RoI head and lists in them their parts."""
    for name, module in model.named_children():
        if name in ('backbone', 'roi_head'):
            yield from _children(module, name)
        else:
            yield name, module


def _children(module: nn.Module, name: str) -> Iterator[tuple[str, nn.Module]]:
    for key, child in module.named_children():
        if isinstance(child, nn.ModuleList):
            yield from _children(child, f'{name}.{key}')
        else:
            yield f'{name}.{key}', child


def _measure_part(name: str, module: nn.Module, counter: FlopAnalyzer) -> Part:
    params, inside = count_parameters(module), f'model.{name}'
    uncounted = list_uncounted(counter, inside)
    if uncounted:
        return Part(name, params, None, f'not counted: {", ".join(uncounted)}')
    macs = int(counter.total(inside))
    idle = counter.canonical_module_name(inside) in counter.uncalled_modules()
    note = 'computes nothing in inference' if idle and params else ''
    return Part(name, params, macs, note)


def _measure_rest(
    model: nn.Module, parts: dict[str, nn.Module], counter: FlopAnalyzer
) -> Part:
    """What belongs to no part: parameters, and what is computed between parts."""
    inside = [f'model.{name}' for name in parts]
    params = {id(p) for module in parts.values() for p in module.parameters()}
    if hasattr(model, 'roi_head'):
        params |= {id(p) for p in model.roi_head.parameters()}
    left = sum(p.numel() for p in model.parameters() if id(p) not in params)
    uncounted = counter.unsupported_ops()
    for name in inside:
        uncounted = uncounted - counter.unsupported_ops(name)
    macs = int(counter.total()) - sum(int(counter.total(name)) for name in inside)
    if set(list_uncounted(counter)) & set(uncounted):
        return Part('the rest', left, None, 'not counted in full')
    return Part('the rest', left, macs)


def _measure_roi_heads(model: nn.Module) -> list[Part]:
    """Box and mask heads, each for the most boxes that it may be given."""
    boxes = {
        'bbox_head': model.test_cfg.get('rpn', {}).get('max_per_img'),
        'mask_head': model.test_cfg.rcnn.get('max_per_img'),
    }
    parts = []
    for name, module in _children(model.roi_head, 'roi_head'):
        params, kind = count_parameters(module), name.split('.')[1]
        count, macs = boxes.get(kind), None
        if count and not model.roi_head.with_shared_head:
            macs = _count_per_box(model.roi_head, kind, module)
        if macs is not None:
            parts.append(Part(name, params, macs * count, f'{count} boxes'))
        elif params:
            parts.append(Part(name, params, None, 'not counted'))
    return parts


def _count_per_box(roi_head: nn.Module, kind: str, head: nn.Module) -> int | None:
    extractor = getattr(roi_head, kind.replace('_head', '_roi_extractor'))
    if isinstance(extractor, nn.ModuleList):
        extractor = extractor[0]
    size = extractor.roi_layers[0].output_size
    try:
        return count_macs(head, size, extractor.out_channels)
    except Exception:  # a head that needs more than the features of a box
        return None
