"""Core ML: an ML program for Apple's systems, written anywhere, run only there."""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from mmrapidnet.deploy import metadata as about
from mmrapidnet.deploy.formats import KINDS, SUFFIXES, conversion_to, first_line
from mmrapidnet.deploy.graphs import FREE, trace
from mmrapidnet.utils.errors import UserError, in_one_line

if TYPE_CHECKING:
    from mmrapidnet.deploy.graphs import Graph

NAME = 'coreml'
SUFFIX = SUFFIXES[NAME]
PRECISIONS = {kind: ('fp32', 'fp16') for kind in KINDS if kind != 'detector'}
RUNNABLE = False

# Edges of an image that a file for every size takes, in pixels; an ML program needs
# an upper bound.
SMALLEST, LARGEST = 32, 4096
# The most prompts, and the most points of each, that a decoder takes.
MOST = 256


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Hide what coremltools tells of its progress, and on import of what it lacks."""
    logger = logging.getLogger('coremltools')
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        logger.setLevel(level)


with _quiet():
    import coremltools as ct


def is_dynamic(graph: Graph) -> bool:
    """Whether a file can hold a graph for every height and width.

    A map that is enlarged to the size of another has no counterpart in Core ML.
    """
    return (
        graph.dynamic and not graph.padded and graph.kind in ('backbone', 'classifier')
    )


def write(
    graph: Graph,
    example: Tensor,
    path: Path,
    metadata: dict[str, Any],
    calibration: Iterable[np.ndarray] | None = None,
) -> None:
    """Write a graph as an ML program (``.mlpackage``) for iOS 16, macOS 13 and later.

    Its input is an image of Core ML's, so that a camera's or a picture's pixel
    buffer can be given, or an array where the image has neither one channel nor three;
    the outputs are arrays.  A fixed size lets the neural engine run it, which needs
    'fp16'.
    """
    edges = example.shape[2:]
    if metadata['input']['size'] is None:
        edges = [ct.RangeDim(SMALLEST, LARGEST, default=edge) for edge in edges]
    half = metadata['precision'] == 'fp16'
    with conversion_to(NAME), _quiet():
        model = ct.convert(
            trace(graph, example),
            convert_to='mlprogram',
            inputs=[
                _input_type(graph.input, metadata['input'], edges),
                *(_prompt_type(*prompt) for prompt in graph.prompts.items()),
            ],
            outputs=[ct.TensorType(name, dtype=np.float32) for name in graph.outputs],
            compute_precision=(ct.precision.FLOAT16 if half else ct.precision.FLOAT32),
            minimum_deployment_target=ct.target.iOS16,
            skip_model_load=True,
        )
    text = about.to_text(metadata, 'coremltools', batch=1)
    model.user_defined_metadata[about.KEY] = text
    model.save(str(path))


def _input_type(name: str, described: dict[str, Any], edges: Sequence[Any]) -> Any:
    """Core ML has images of one or three channels; others are arrays."""
    layouts = {
        'gray': ct.colorlayout.GRAYSCALE,
        'bgr': ct.colorlayout.BGR,
        'rgb': ct.colorlayout.RGB,
    }
    shape = ct.Shape((1, described['channels'], *edges))
    order = described['channel_order']
    if order in layouts:
        return ct.ImageType(name, shape, color_layout=layouts[order])
    return ct.TensorType(name, shape, dtype=np.float32)


def _prompt_type(name: str, shape: tuple[int | str, ...]) -> Any:
    lengths = [ct.RangeDim(1, MOST, FREE[n]) if n in FREE else n for n in shape]
    return ct.TensorType(name, ct.Shape(lengths), dtype=np.float32)


def read_metadata(path: Path) -> dict[str, Any]:
    """Read what a file says of itself.

    Args:
        path: The ``.mlpackage``.

    Returns:
        What `mmrapidnet.deploy.metadata` made.

    Raises:
        UserError: If it is not Core ML's, or not ours.
    """
    what = f'{path} is not an ML program of Core ML'
    with in_one_line(what, first_line), _quiet():
        description = ct.utils.load_spec(str(path)).description
    return about.from_text(description.metadata.userDefined.get(about.KEY), path)


class Session:
    """Refuses to run a file, once it is known to be one of ours.

    Args:
        path: The ``.mlpackage``.
        threads: Not used.
        size: Not used.

    Raises:
        UserError: Always: with what is wrong with the file, or where it can be run.
    """

    def __init__(
        self,
        path: Path,
        threads: int | None = None,
        size: tuple[int, int] | None = None,
    ) -> None:
        read_metadata(path)
        raise UserError(
            f'{path} cannot be run on Linux: Core ML exists on macOS and iOS only; '
            'open it in Xcode, or with coremltools on a Mac'
        )
