"""ncnn: for phones and boards, converted by pnnx; run on the CPU."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ncnn
import numpy as np
from torch import Tensor

from mmrapidnet.deploy import metadata as about
from mmrapidnet.deploy.formats import (
    KINDS,
    SUFFIXES,
    check_supported,
    conversion_to,
    needs_extra,
)
from mmrapidnet.deploy.graphs import trace
from mmrapidnet.utils.errors import UserError

if TYPE_CHECKING:
    from mmrapidnet.deploy.graphs import Graph

NAME = 'ncnn'
SUFFIX = SUFFIXES[NAME]
PRECISIONS = {kind: ('fp32', 'fp16') for kind in KINDS if kind != 'detector'}
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
    precision: str = 'fp32',
    calibration: Iterable[np.ndarray] | None = None,
    fixed_size: bool = False,
) -> None:
    """Write a graph as ``.ncnn.param``, ``.ncnn.bin`` and, for the metadata, ``.json``.

    The input blob is called ``image``, the output blobs as the graph's outputs are.

    Args:
        graph: The graph.
        example: An image, (1, C, H, W); its size counts if it is to be fixed.
        path: The ``.ncnn.param``; the others lie beside it.
        metadata: What `mmrapidnet.deploy.metadata.describe` gave.
        precision: 'fp32', or 'fp16' for weights of half the size.
        calibration: Not used: there is no int8.
        fixed_size: Whether to fix the size of the images. Defaults to False.

    Raises:
        UserError: If ncnn has no such precision or cannot hold the model.
    """
    check_supported(NAME, PRECISIONS, graph.kind, precision)
    fixed = fixed_size or not is_dynamic(graph)
    with tempfile.TemporaryDirectory() as folder:
        with conversion_to(NAME):
            trace(graph, example).save(Path(folder) / 'graph.pt')
            param = _run_pnnx(Path(folder), example, fixed, precision)
            path.write_text(_name_blobs(param, graph.outputs))
        shutil.copyfile(Path(folder) / 'graph.ncnn.bin', _beside(path, '.bin'))
    size = tuple(example.shape[2:]) if fixed else None
    metadata = about.complete(metadata, size, 1, ('ncnn', 'pnnx'))
    _beside(path, '.json').write_text(about.to_text(metadata))


class Session:
    """An ncnn file, run on the CPU.

    Args:
        path: The ``.ncnn.param``.
        threads: Number of threads. Defaults to None: as the runtime likes.
        size: Height and width of all images. Defaults to None: any it takes.

    Raises:
        UserError: If it is not ncnn's, not ours, has lost what lay beside it, or
            does not take that size.

    Attributes:
        metadata: What the file says of itself.
    """

    def __init__(
        self,
        path: Path,
        threads: int | None = None,
        size: tuple[int, int] | None = None,
    ) -> None:
        self.path, self._size = path, size
        self.metadata = _read_metadata(path)
        if size is not None:
            about.check_size(self.metadata, size, path)
        self._net = ncnn.Net()
        options = self._net.opt
        if threads is not None:
            options.num_threads = threads
        if self.metadata['precision'] == 'fp32':
            options.use_fp16_packed = False
            options.use_fp16_storage = False
            options.use_fp16_arithmetic = False
        weights = _beside(path, '.bin')
        if self._net.load_param(str(path)) or self._net.load_model(str(weights)):
            raise UserError(
                f'{path} cannot be run: it and {weights.name} are damaged, or do not '
                'belong together'
            )

    def __call__(self, image: np.ndarray) -> dict[str, np.ndarray]:
        """Run the file.

        Args:
            image: float32, (1, C, H, W), 0 to 255, as the pipeline reads it (BGR).

        Returns:
            The outputs by name.

        Raises:
            UserError: If the file does not take such images.
        """
        about.check_image(self.metadata, image, self.path, self._size)
        extractor = self._net.create_extractor()
        # A matrix of ncnn's points into the array, and does not keep it alive; the
        # copy is its own and aligned.
        pixels = np.ascontiguousarray(image[0])
        extractor.input('image', ncnn.Mat(pixels).clone())
        return {
            name: np.array(extractor.extract(name)[1])[None]
            for name in self.metadata['outputs']
        }


def _beside(path: Path, suffix: str) -> Path:
    """The file of the same name that ends in ``.ncnn<suffix>``."""
    return path.with_suffix(suffix)


def _run_pnnx(folder: Path, example: Tensor, fixed: bool, precision: str) -> str:
    """Convert ``graph.pt`` in a folder to ``graph.ncnn.{param,bin}``.

    Returns:
        The text of the former.
    """
    with needs_extra(NAME):
        import pnnx
    channels, height, width = example.shape[1:]
    command = [
        pnnx.EXEC_PATH,
        'graph.pt',
        f'inputshape=[1,{channels},{height},{width}]',
        f'fp16={int(precision == "fp16")}',
    ]
    if not fixed:
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


def _read_metadata(path: Path) -> dict[str, Any]:
    with path.open('rb') as file:
        if file.readline().strip() != MAGIC.encode():
            raise UserError(
                f'{path} is not a network of ncnn in text form: its first line is not '
                f'{MAGIC}'
            )
    for beside in (_beside(path, '.bin'), _beside(path, '.json')):
        if not beside.is_file():
            raise UserError(f'{path} is not whole: {beside} must lie beside it')
    return about.from_text(_beside(path, '.json').read_text(), path)
