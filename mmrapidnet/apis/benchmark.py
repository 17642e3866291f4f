"""Latency of a config's model in PyTorch and of files exported from it, in turns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import DefaultScope
from rich.table import Table
from torch import nn

from mmrapidnet.apis.latency import (
    ROUNDS,
    WARM_UP,
    Call,
    IsolatedCall,
    Timing,
    interleave,
    wait_for,
)
from mmrapidnet.apis.model_parts import SIZES, count_channels
from mmrapidnet.checkpoints.state_dict import read_checkpoint
from mmrapidnet.config.libraries import require_library
from mmrapidnet.datasets.shapes import draw_scene
from mmrapidnet.deploy.fuse import fuse, is_fused
from mmrapidnet.deploy.graphs import PARTS, Graph, build_graph
from mmrapidnet.deploy.inference import to_batch
from mmrapidnet.deploy.isolated import IsolatedSession
from mmrapidnet.deploy.loading import build_model, load_model
from mmrapidnet.deploy.metadata import check_config
from mmrapidnet.utils.env import (
    find_device,
    has_bf16,
    list_versions,
    processor_name,
)
from mmrapidnet.utils.errors import UserError, in_one_line, sanitize


@dataclass(frozen=True)
class Settings:
    """How to measure.

    Attributes:
        size: Height and width of the image in pixels. Defaults to None: those that an
            exported file is fixed to, or 224x224 of a classifier, 512x512 of a
            segmenter and 800x1280 of a detector.
        device: 'cpu' or 'cuda'. Defaults to 'cpu'.
        threads: Number of threads on the CPU. Defaults to PyTorch's own choice.
        rounds: Timed calls of each. Defaults to 30.
        warm_up: Calls of each before them. Defaults to 5.
    """

    size: tuple[int, int] | None = None
    device: str = 'cpu'
    threads: int = field(default_factory=torch.get_num_threads)
    rounds: int = ROUNDS
    warm_up: int = WARM_UP

    def check(self, exported: Sequence[str] = ()) -> None:
        """Raise a UserError if a number is out of range or the device cannot be used.

        Args:
            exported: The files to measure, which run on the CPU. Defaults to none.
        """
        numbers = (
            ('--size', min(self.size or (1, 1)), 1),
            ('--threads', self.threads, 1),
            ('--rounds', self.rounds, 1),
            ('--warm-up', self.warm_up, 0),
        )
        for option, given, least in numbers:
            if given < least:
                raise UserError(f'{option} {given}: give at least {least}')
        find_device(self.device)
        if exported and self.device != 'cpu':
            raise UserError(
                f'--device {self.device}: {exported[0]} is an exported file, which '
                'runs on the CPU'
            )


@dataclass(frozen=True)
class Row:
    """What was measured of one case.

    Attributes:
        name: 'PyTorch', 'PyTorch, fused' or the path of an exported file.
        precision: Such as 'fp32' or 'int8'.
        timing: What the calls took.
        ratio: How many times faster than the first row, by the medians.
        objects: How many a detector found in the image; None for other models.
    """

    name: str
    precision: str
    timing: Timing
    ratio: float
    objects: int | None


@dataclass(frozen=True)
class Benchmark:
    """What `measure` measured.

    Attributes:
        kind: What was timed, see `mmrapidnet.deploy.graphs.Graph`.
        size: Height and width of the image in pixels.
        rows: PyTorch (unless the checkpoint is a fused one), PyTorch fused, the files.
        unsettled: Calls that began while other threads of the process still computed.
    """

    kind: str
    size: tuple[int, int]
    rows: list[Row]
    unsettled: int


def measure(
    cfg: Config,
    checkpoint: str | None = None,
    exported: Sequence[str] = (),
    settings: Settings | None = None,
) -> Benchmark:
    """Time a model in PyTorch, fused, and each file exported from it, in turns.

    A call is the network alone: from one image, a float32 tensor, to the raw outputs
    of its graph. If the files hold a part of the model, that part is timed in PyTorch.
    Each file runs in a process of its own, which a bad one may end. The number of
    threads stays set in PyTorch.

    Args:
        cfg: A config of mmdet, mmsegmentation or mmpretrain.
        checkpoint: Path or URL of its weights. Defaults to None: random ones.
        exported: The files. Defaults to none.
        settings: How to measure. Defaults to those of `Settings`.

    Returns:
        What was measured.

    Raises:
        UserError: If a setting is out of range, the model cannot be built, a file is
            of another model, or one of them takes no image of that size; a
            `mmrapidnet.deploy.isolated.FileError` if a file cannot be run.
    """
    settings = settings or Settings()
    settings.check(exported)
    scope, device = require_library(cfg), settings.device
    if 'model' not in cfg:
        raise UserError(f'{cfg.filename} has no model')
    torch.set_num_threads(settings.threads)
    metadata = {
        path: IsolatedSession(Path(path), settings.threads, settings.size).metadata
        for path in exported
    }
    part = _find_part(cfg, metadata)
    fixed = (about['input']['size'] for about in metadata.values())
    size = tuple(settings.size or next(filter(None, fixed), SIZES[scope]))
    refusal = f'cannot be run on an image of {size[0]}x{size[1]} (--size HEIGHT WIDTH)'
    with DefaultScope.overwrite_default_scope(scope):
        model = _load_model(cfg, checkpoint).to(device)
        graphs = dict(_build_graphs(model, part))
        with in_one_line(f'the model of {cfg.filename} {refusal}'):
            image = draw_image(size, count_channels(model))
            calls = {n: _call_graph(g, image, device) for n, g in graphs.items()}
            outputs = {name: call() for name, call in calls.items()}
        for path in metadata:
            with in_one_line(f'{path} {refusal}'):
                session = IsolatedSession(Path(path), settings.threads, size)
                calls[path] = IsolatedCall(session, image)
                outputs[path] = calls[path]()
        measured = interleave(calls, settings.rounds, settings.warm_up)
    first = next(iter(measured.timings.values()))
    rows = [
        Row(
            name=name,
            precision=sanitize(metadata.get(name, {}).get('precision', 'fp32')),
            timing=timing,
            ratio=first.median / timing.median,
            objects=len(outputs[name]['scores']) if 'scores' in outputs[name] else None,
        )
        for name, timing in measured.timings.items()
    ]
    return Benchmark(graphs['PyTorch, fused'].kind, size, rows, measured.unsettled)


def draw_image(size: tuple[int, int], channels: int = 3) -> np.ndarray:
    """Draw a scene with objects, which a detector's latency depends on.

    Args:
        size: Height and width in pixels.
        channels: Blue, green, red, blue, ... Defaults to 3.

    Returns:
        (1, channels, H, W), float32, 0 to 255, always the same.

    Examples:
        >>> draw_image((48, 64)).shape
        (1, 3, 48, 64)
    """
    scene = draw_scene(max(size), np.random.default_rng(1))
    order = [2 - channel % 3 for channel in range(channels)]
    return to_batch(scene.image[: size[0], : size[1], order])


def make_table(found: Benchmark, title: str) -> Table:
    """Lay a benchmark out to be read.

    Args:
        found: What was measured.
        title: Title of the table.

    Returns:
        The table, to be printed with rich, without its markup.
    """
    table = Table(title=title)
    table.add_column('what', overflow='fold')
    for name in ('precision', 'median ms', 'p10', 'p90', 'ratio'):
        table.add_column(name, justify='right', no_wrap=True)
    for row in found.rows:
        times = (row.timing.median, row.timing.p10, row.timing.p90)
        milliseconds = (f'{1e3 * seconds:.3f}' for seconds in times)
        table.add_row(row.name, row.precision, *milliseconds, f'{row.ratio:.2f}')
    return table


def describe(found: Benchmark, settings: Settings) -> str:
    """Say what was timed, how, and on what.

    Args:
        found: What was measured.
        settings: How.

    Returns:
        A few lines.
    """
    lines = [
        f'Timed: the network alone ({found.kind}), from a tensor of one drawn image to '
        'the raw outputs; no image file is read or decoded.',
        f'Median, 10th and 90th percentile of {settings.rounds} rounds after '
        f'{settings.warm_up} to warm up; each round calls everything once. Ratio: '
        f'times faster than {found.rows[0].name}, by the medians.',
    ]
    if found.kind == 'detector':
        objects = '; '.join(f'{row.name}: {row.objects}' for row in found.rows)
        lines.append(f'Objects found, which the latency depends on: {objects}.')
    if found.unsettled:
        lines.append(
            f'{found.unsettled} calls began while other threads of the process still '
            'computed.'
        )
    if {'bf16', 'int8'} & {row.precision for row in found.rows} and not has_bf16():
        lines.append('This processor has no bf16: fp32 is computed in its place.')
    if settings.device != 'cpu' and torch.backends.cudnn.allow_tf32:
        lines.append('Convolutions may compute in TF32.')
    versions = ', '.join(f'{name} {number}' for name, number in list_versions().items())
    return '\n'.join([*lines, f'On {processor_name(settings.device)}; {versions}.'])


def _find_part(cfg: Config, metadata: dict[str, dict[str, Any]]) -> str:
    """The part of the config's model that all files hold, by their metadata."""
    for path, about in metadata.items():
        check_config(about, cfg, path)
    kinds = {about['kind']: path for path, about in metadata.items()}
    if len(kinds) > 1:
        held = ', '.join(f'{path}: {sanitize(kind)}' for kind, path in kinds.items())
        raise UserError(f'the files hold different parts ({held}): time them apart')
    return next((kind for kind in kinds if kind in PARTS), 'whole')


def _load_model(cfg: Config, checkpoint: str | None) -> nn.Module:
    with in_one_line(f'the model of {cfg.filename} cannot be built'):
        if checkpoint is None:
            model = build_model(cfg).eval()
        else:
            model = load_model(cfg, read_checkpoint(checkpoint), checkpoint)
        return revert_sync_batchnorm(model)


def _build_graphs(model: nn.Module, part: str) -> Iterator[tuple[str, Graph]]:
    if not is_fused(model):
        yield 'PyTorch', build_graph(model, part)
    yield 'PyTorch, fused', build_graph(fuse(model), part)


def _call_graph(graph: Graph, image: np.ndarray, device: str) -> Call:
    module, tensor = graph.module.to(device), torch.from_numpy(image).to(device)

    def call() -> dict[str, torch.Tensor]:
        with torch.inference_mode():
            values = module(tensor)
        wait_for(device)
        return dict(zip(graph.outputs, values, strict=True))

    return call
