"""ncnn: for phones and boards, converted by pnnx; run on the CPU."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ncnn
import numpy as np
from torch import Tensor

from mmrapidnet.deploy import metadata as about
from mmrapidnet.deploy.formats import SUFFIXES, conversion_to, session
from mmrapidnet.deploy.graphs import trace
from mmrapidnet.utils.errors import UserError

if TYPE_CHECKING:
    from mmrapidnet.deploy.graphs import Graph

NAME = 'ncnn'
SUFFIX = SUFFIXES[NAME]
PRECISIONS = dict.fromkeys(
    ('backbone', 'classifier', 'segmenter', 'dense'), ('fp32', 'fp16')
)
RUNNABLE = True

MAGIC = '7767517'


def is_dynamic(graph: Graph) -> bool:
    """Whether a file can hold a graph for every height and width.

    ncnn pads by numbers, not by what is computed from the size.
    """
    return graph.dynamic and not graph.padded


def write(
    graph: Graph,
    example: Tensor,
    path: Path,
    metadata: dict[str, Any],
    calibration: Iterable[np.ndarray] | None = None,
) -> None:
    """Write a graph as ``.ncnn.param``, ``.ncnn.bin`` and, for the metadata, ``.json``.

    The input blob is called ``image``, the output blobs as the graph's outputs are;
    'fp16' has weights of half the size.
    """
    with tempfile.TemporaryDirectory() as folder:
        with conversion_to(NAME):
            trace(graph, example).save(Path(folder) / 'graph.pt')
            param = _run_pnnx(Path(folder), example, metadata)
            path.write_text(_name_blobs(param, graph.outputs))
        shutil.copyfile(Path(folder) / 'graph.ncnn.bin', _beside(path, '.bin'))
    _beside(path, '.json').write_text(about.to_text(metadata, 'ncnn', 'pnnx', batch=1))


class Session(session.Session):
    """An ncnn file, which takes one image at a time."""

    def _open(self) -> str:
        with self.path.open('rb') as file:
            if file.readline().strip() != MAGIC.encode():
                raise UserError(
                    f'{self.path} is not a network of ncnn in text form: its first '
                    f'line is not {MAGIC}'
                )
        for suffix in ('.bin', '.json'):
            beside = _beside(self.path, suffix)
            if not beside.is_file():
                raise UserError(
                    f'{self.path} is not whole: {beside} must lie beside it'
                )
        return _beside(self.path, '.json').read_text()

    def _prepare(self) -> None:
        self._net = ncnn.Net()
        options = self._net.opt
        if self.threads is not None:
            options.num_threads = self.threads
        if self.metadata['precision'] == 'fp32':
            options.use_fp16_packed = False
            options.use_fp16_storage = False
            options.use_fp16_arithmetic = False
        param, weights = str(self.path), _beside(self.path, '.bin')
        if self._net.load_param(param) or self._net.load_model(str(weights)):
            raise UserError(
                f'{param} cannot be run: it and {weights.name} are damaged, or do not '
                'belong together'
            )

    def _run(self, image: np.ndarray) -> Iterator[np.ndarray]:
        extractor = self._net.create_extractor()
        # A matrix of ncnn's points into the array, and does not keep it alive; the
        # copy is its own and aligned.
        pixels = np.ascontiguousarray(image[0])
        extractor.input('image', ncnn.Mat(pixels).clone())
        for name in self.metadata['outputs']:
            yield np.array(extractor.extract(name)[1])[None]


def _beside(path: Path, suffix: str) -> Path:
    """The file of the same name that ends in ``.ncnn<suffix>``."""
    return path.with_suffix(suffix)


def _run_pnnx(folder: Path, example: Tensor, metadata: dict[str, Any]) -> str:
    """Convert ``graph.pt`` in a folder to ``graph.ncnn.{param,bin}``.

    Returns:
        The text of the former.
    """
    import pnnx

    channels, height, width = example.shape[1:]
    command = [
        pnnx.EXEC_PATH,
        'graph.pt',
        f'inputshape=[1,{channels},{height},{width}]',
        f'fp16={int(metadata["precision"] == "fp16")}',
    ]
    if metadata['input']['size'] is None:
        # A second size, that pnnx sees what follows from the size.
        command.append(f'inputshape2=[1,{channels},{height + 70},{width + 42}]')
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    param = folder / 'graph.ncnn.param'
    if done.returncode or not param.is_file():
        said = done.stderr.strip().splitlines() or [f'status {done.returncode}']
        raise RuntimeError(f'pnnx failed: {said[-1]}')
    return param.read_text()


def _name_blobs(param: str, outputs: tuple[str, ...]) -> str:
    """Call input and outputs of a network by their names, and check its layers.

    A line holds a layer's type and name, the numbers of its inputs and outputs, then
    their names, then its parameters.
    """
    names = {'in0': 'image', **{f'out{i}': name for i, name in enumerate(outputs)}}
    magic, counts, *layers = param.splitlines()
    written = [magic, counts]
    for line in layers:
        kind, name, inputs, results, *rest = line.split()
        if not re.fullmatch(r'\w+', kind):  # pnnx's own, or PyTorch's
            raise ValueError(f'it has no layer for {kind}')
        blobs = int(inputs) + int(results)
        rest[:blobs] = [names.get(blob, blob) for blob in rest[:blobs]]
        written.append(' '.join([f'{kind:<24} {name:<24}', inputs, results, *rest]))
    return '\n'.join(written) + '\n'
