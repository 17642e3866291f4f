"""Peer detectors from an image file to their result, in the runtimes of the others."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar
from unittest.mock import patch

import cv2
import numpy as np
import torch

from dev.benchmark.cases import Case, find_runtimes
from dev.benchmark.dense_cases import DenseCase
from dev.benchmark.peer_detectors import PEERS, PeerGraph, build_peer, finish
from dev.benchmark.runtimes import call_in_torch, place
from dev.model_zoo.classifiers import Complexity
from mmrapidnet.apis.complexity import count_macs, count_parameters
from mmrapidnet.apis.latency import Call
from mmrapidnet.deploy.formats import load_format
from mmrapidnet.deploy.graphs import Graph
from mmrapidnet.deploy.inference import to_batch
from mmrapidnet.deploy.metadata import describe


@dataclass(frozen=True)
class PeerCase(Case):
    """A peer, which stretches every picture to its one size.

    Attributes:
        image: The image file.
    """

    image: str

    task: ClassVar[str] = DenseCase.task

    def _open(self) -> Call:
        cv2.setNumThreads(self.threads)
        run = self._open_file() if self.runtime.format else self._open_model()

        def infer() -> dict[str, np.ndarray]:
            picture = cv2.imread(self.image)
            found = run(to_batch(cv2.resize(picture, self.size[::-1])))
            return finish(found, picture.shape[:2])

        return infer

    def complexity(self) -> Complexity:
        """Count parameters and multiply-accumulates, which no image changes."""
        return _count(self.model)

    def describe(self, result: dict[str, np.ndarray]) -> dict[str, Any]:
        """Say how much it gives, which is always the same."""
        return {'detections': len(result['boxes'])}

    def _open_model(self) -> Any:
        model = place(build_peer(self.model), self.runtime, self.device)

        def run(pixels: np.ndarray) -> dict[str, np.ndarray]:
            image = torch.from_numpy(pixels).to(self.device)
            values = call_in_torch(lambda: model(image), self.runtime, self.device)()
            return dict(zip(model.outputs, (v.float().cpu().numpy() for v in values)))

        return run

    def _open_file(self) -> Any:
        format_ = load_format(self.runtime.format)
        path = self._exported(format_.SUFFIX)
        if not path.exists():
            self._export(format_, build_peer(self.model), path)
        return format_.Session(path, threads=self.threads, size=self.size)

    def _export(self, format_: ModuleType, model: PeerGraph, path: Path) -> None:
        graph = Graph('backbone', model, model.outputs)
        metadata = describe(None, graph, self.runtime.precision, size=self.size)
        path.parent.mkdir(parents=True, exist_ok=True)
        # Its own checks of shapes have no counterpart in a file.
        with patch.dict(os.environ, TRANSFORMERS_DISABLE_TORCH_CHECK='1'):
            format_.write(graph, torch.zeros(1, 3, *self.size), path, metadata)


def list_peer(
    name: str,
    runtimes: Sequence[str],
    image: str | Path,
    device: str,
    threads: int,
    folder: str,
) -> list[Case]:
    """List a peer in every runtime.

    Args:
        name: One of `dev.benchmark.peer_detectors.PEERS`.
        runtimes: Names of runtimes.
        image: The image file.
        device: 'cpu' or 'cuda'.
        threads: Number of threads on the CPU.
        folder: Where exported files go.

    Returns:
        The cases, which are measured in turns.
    """
    return [
        PeerCase(
            model=name,
            runtime=runtime,
            size=PEERS[name].size,
            batch=1,
            device=device,
            threads=threads,
            folder=folder,
            image=str(image),
        )
        for runtime in find_runtimes(runtimes, device, threads)
    ]


@cache
def _count(name: str) -> Complexity:
    model = build_peer(name)
    return Complexity(count_parameters(model), count_macs(model, PEERS[name].size))
