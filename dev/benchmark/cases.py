"""What latency is measured of: a model in a runtime, at a size, for some images."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from dev.benchmark import peers
from dev.benchmark.runtimes import (
    Runtime,
    call_in_torch,
    compile_module,
    find_runtime,
    memory_format,
    place,
)
from dev.model_zoo.classifiers import Complexity, measure
from mmrapidnet.apis.latency import Call
from mmrapidnet.utils.env import find_device
from mmrapidnet.utils.errors import UserError

# Images of noise that int8 takes its ranges from: enough for latency, of no use for
# accuracy.
CALIBRATION_IMAGES = 8


@dataclass(frozen=True)
class Case(ABC):
    """A model in a runtime.  It is a plain record, so it can go to another process.

    Attributes:
        model: What the model is called.
        runtime: What it runs in.
        size: Height and width, in pixels, of what the network sees.
        batch: Number of images per call.
        device: 'cpu' or 'cuda'.
        threads: Number of threads on the CPU.
        folder: Where exported files go, and are found again.
    """

    model: str
    runtime: Runtime
    size: tuple[int, int]
    batch: int
    device: str
    threads: int
    folder: str

    # What a call does, for tables and files.
    task: ClassVar[str]

    @property
    def name(self) -> str:
        """The model and the runtime, such as 'rapidnet_ti/fused'."""
        return f'{self.model}/{self.runtime.name}'

    @property
    def group(self) -> tuple[str, tuple[int, int], int]:
        """Cases are measured in turns with those that do the same."""
        return self.task, self.size, self.batch

    def open(self) -> Call:
        """Make the model ready.

        Returns:
            A call that does the work once and returns its result.

        Raises:
            UserError: If the runtime cannot hold the model.
        """
        torch.set_num_threads(self.threads)
        # The same weights and images in every runtime.
        torch.manual_seed(0)
        return self._open()

    @abstractmethod
    def _open(self) -> Call: ...

    @abstractmethod
    def complexity(self) -> Complexity:
        """Count what the model costs as it comes out of training, for one image."""

    def describe(self, result: Any) -> dict[str, Any]:
        """Say what is worth noting of a call's result."""
        return {}

    def _exported(self, suffix: str) -> Path:
        """The exported file, which serves every number of images."""
        height, width = self.size
        stem = f'{self.model}_{self.runtime.precision}_{height}x{width}'
        return Path(self.folder) / (stem.replace(':', '_') + suffix)


@dataclass(frozen=True)
class ClassifierCase(Case):
    """From normalised images to logits; see `peers.build_model` for the names."""

    task: ClassVar[str] = 'classifier'

    def _open(self) -> Call:
        if self.runtime.format:
            return self._open_file()
        image = self._draw().to(self.device, memory_format=memory_format(self.runtime))
        model = place(self._build(), self.runtime, self.device)
        model = compile_module(model, self.runtime, self.device)
        return call_in_torch(lambda: model(image), self.runtime, self.device)

    def complexity(self) -> Complexity:
        """Count parameters and multiply-accumulates of the unfused model."""
        return _count(self.model, self.size)

    def _draw(self) -> Tensor:
        generator = torch.Generator().manual_seed(0)
        return torch.randn(self.batch, 3, *self.size, generator=generator)

    def _build(self) -> nn.Module:
        model = peers.build_model(self.model)
        image = torch.zeros(1, 3, *self.size)
        return peers.fuse_model(model, image) if self.runtime.fused else model

    def _open_file(self) -> Call:
        from mmrapidnet.deploy.formats import load_format

        format_ = load_format(self.runtime.format)
        path = self._exported(format_.SUFFIX)
        if not path.exists():
            self._export(format_, path)
        session = format_.Session(path, threads=self.threads, size=self.size)
        pixels = self._draw().numpy()
        return lambda: session(pixels)['logits']

    def _export(self, format_: ModuleType, path: Path) -> None:
        from mmrapidnet.deploy.graphs import Graph
        from mmrapidnet.deploy.metadata import describe

        precision = self.runtime.precision
        # Normalised images come in, as into PyTorch's runtimes.
        graph = Graph('classifier', _Tuple(self._build()).eval(), ('logits',))
        path.parent.mkdir(parents=True, exist_ok=True)
        format_.write(
            graph,
            torch.zeros(1, 3, *self.size),
            path,
            describe(None, graph, precision, size=self.size),
            _noise(self.size) if precision == 'int8' else None,
        )


def list_classifiers(
    models: Sequence[str],
    runtimes: Sequence[str],
    sizes: Sequence[int],
    batches: Sequence[int],
    device: str,
    threads: int,
    folder: str,
) -> list[Case]:
    """List every model in every runtime, at every size, for every batch.

    Args:
        models: Names that `peers.build_model` knows.
        runtimes: Names of runtimes.
        sizes: Edges of square images in pixels.
        batches: Numbers of images.
        device: 'cpu' or 'cuda'.
        threads: Number of threads on the CPU.
        folder: Where exported files go.

    Returns:
        The cases, those that are measured in turns beside one another.

    Raises:
        UserError: If something is given twice, out of range or not known here.
    """
    found = find_runtimes(runtimes, device, threads)
    for option, values in (
        ('--models', models),
        ('--sizes', sizes),
        ('--batches', batches),
    ):
        check_each_once(option, values)
    check_positive('--sizes', sizes)
    check_positive('--batches', batches)
    for model in models:
        # All that can be wrong with a name is found before anything is measured.
        peers.build_model(model)
    return [
        ClassifierCase(model, runtime, (size, size), n, device, threads, folder)
        for size in sizes
        for n in batches
        for model in models
        for runtime in found
    ]


def find_runtimes(names: Sequence[str], device: str, threads: int) -> list[Runtime]:
    """Find what every command that measures is given: runtimes, device and threads.

    Args:
        names: Names of runtimes.
        device: 'cpu' or 'cuda'.
        threads: Number of threads on the CPU.

    Returns:
        The runtimes.

    Raises:
        UserError: If one is given twice, is not known or does not work here, or there
            are no such device or threads.
    """
    find_device(device)
    check_each_once('--runtimes', names)
    check_positive('--threads', [threads])
    return [find_runtime(name, device) for name in names]


def check_each_once(option: str, values: Sequence[Any]) -> None:
    """Raise a UserError if an option's values repeat.

    Args:
        option: Its name, for the message.
        values: What was given.
    """
    if len(set(values)) != len(values):
        raise UserError(f'{option} {" ".join(map(str, values))}: give each once')


def check_positive(option: str, values: Sequence[int]) -> None:
    """Raise a UserError if an option's numbers are not all at least 1.

    Args:
        option: Its name, for the message.
        values: What was given.
    """
    if min(values) < 1:
        raise UserError(f'{option} {min(values)}: give at least 1')


class _Tuple(nn.Module):
    """A classifier as the formats take it: with a tuple of outputs."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: Tensor) -> tuple[Tensor]:
        return (self.model(image),)


def _noise(size: tuple[int, int]) -> list[np.ndarray]:
    generator = np.random.default_rng(0)
    return [
        generator.standard_normal((1, 3, *size), dtype=np.float32)
        for _ in range(CALIBRATION_IMAGES)
    ]


@cache
def _count(model: str, size: tuple[int, int]) -> Complexity:
    return measure(peers.build_model(model), size)
