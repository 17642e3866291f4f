"""Files that run without PyTorch, a module per format.

Each has ``NAME``, ``SUFFIX``, ``PRECISIONS`` (by the kind of graph that it holds),
``RUNNABLE`` (whether this package can run the files; if not, ``read_metadata(path)``
at least checks them), ``Session`` (an exported file, see
`mmrapidnet.deploy.formats.session.Session`), and two functions:

- ``is_dynamic(graph)``: whether a file can hold it for every height and width.
- ``write(graph, example, path, metadata, calibration=None)``: write it, and what
  belongs beside the file, as ``metadata`` of `mmrapidnet.deploy.metadata.describe` has
  it: in that precision, for images of that size, or of any where it is None and the
  format ``is_dynamic``. ``example`` is an image, (1, C, H, W), of the size if there is
  one; ``calibration`` gives int8 such images, float32 arrays. A `UserError` says in one
  line what the format cannot hold.

One that has ``CONTROLS_ACCURACY`` takes a further ``control``, an
`mmrapidnet.deploy.accuracy_control.AccuracyControl`, for int8, and returns what it adds
to the metadata.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sized
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np

from mmrapidnet.utils.env import has_bf16
from mmrapidnet.utils.errors import UserError, in_one_line

if TYPE_CHECKING:
    from mmrapidnet.deploy.formats.session import Session

SUFFIXES = {
    'onnx': '.onnx',
    'openvino': '.xml',
    'coreml': '.mlpackage',
    'ncnn': '.ncnn.param',
    'executorch': '.pte',
    'litert': '.tflite',
}
FORMATS = tuple(SUFFIXES)
# Of graphs, see `mmrapidnet.deploy.graphs`.
KINDS = (
    'backbone',
    'classifier',
    'segmenter',
    'dense',
    'detector',
    'encoder',
    'decoder',
)


def load_format(name: str) -> ModuleType:
    """Import a format's module.

    Args:
        name: One of `FORMATS`.

    Returns:
        The module.

    Raises:
        UserError: If there is no such format, or a package that it needs is missing.
    """
    if name not in FORMATS:
        raise UserError(f'unknown format {name!r}: choose one of {", ".join(FORMATS)}')
    with needs_extra(name):
        return import_module(f'{__name__}.{name}')


def format_of(path: str | Path) -> str | None:
    """Tell the format of a file by its name.

    Args:
        path: The file.

    Returns:
        One of `FORMATS`; None if it is no exported file.

    Examples:
        >>> format_of('semfpn.ncnn.param'), format_of('semfpn.pth')
        ('ncnn', None)
    """
    name = Path(path).name
    return next((f for f, suffix in SUFFIXES.items() if name.endswith(suffix)), None)


def open_session(
    path: str | Path,
    threads: int | None = None,
    size: tuple[int, int] | None = None,
) -> Session:
    """Open an exported file.

    Args:
        path: The file.
        threads: Number of threads. Defaults to None: as the runtime likes.
        size: Height and width that all images will have, of use to some runtimes.
            Defaults to None: any that the file takes.

    Returns:
        The ``Session`` of its format.

    Raises:
        UserError: If there is no such file, it is not what its suffix says, was not
            written by this package, does not take that size, or its runtime is
            missing or does not exist for this system.
    """
    path, name = Path(path), format_of(path)
    if name is None:
        suffixes = ', '.join(f'*{suffix}' for suffix in SUFFIXES.values())
        raise UserError(f'{path} is not an exported file: those are called {suffixes}')
    if not path.exists():
        raise UserError(f'there is no file {path}')
    return load_format(name).Session(path, threads, size)


@contextmanager
def needs_extra(name: str) -> Iterator[None]:
    """Say in one line which extra brings a package that an import misses.

    Args:
        name: The format, whose extra has the same name.

    Raises:
        UserError: Instead of a ``ModuleNotFoundError``.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise UserError(
            f'the format {name} needs {error.name}, which is not installed: '
            f'pip install "mmrapidnet[{name}]"'
        ) from error


@contextmanager
def conversion_to(name: str) -> Iterator[None]:
    """Say in one line why a converter could not take a model, or is missing.

    Args:
        name: The format.

    Raises:
        UserError: Instead of whatever the converter raises.
    """
    what = f'{name} cannot hold this model'
    with in_one_line(what, first_line), needs_extra(name):
        yield


def first_line(error: Exception) -> str:
    """The first line of an error's message, or of that which it was raised from."""
    while error.__cause__:
        error = error.__cause__
    return next(filter(None, map(str.strip, str(error).splitlines())), repr(error))


def require_calibration(
    calibration: Iterable[np.ndarray] | None,
) -> Iterable[np.ndarray]:
    """Make sure that there are images which int8 takes its ranges from.

    Args:
        calibration: The images, if any.

    Returns:
        Them, to be read any number of times, and with a length.

    Raises:
        UserError: If there are none.
    """
    # What has a length can be read anew.
    images = calibration if isinstance(calibration, Sized) else list(calibration or ())
    if not len(images):
        raise UserError(
            'int8 needs images to calibrate on: give some of the data set the model '
            'was trained on'
        )
    return images


def check_supported(writer: ModuleType, kind: str, precision: str) -> None:
    """Hold a request to what a format can do.

    Args:
        writer: The format's module.
        kind: The kind of graph asked for.
        precision: The precision asked for.

    Raises:
        UserError: If it has no such kind, or not in that precision.
    """
    name, precisions = writer.NAME, writer.PRECISIONS
    if kind not in precisions:
        advice = (
            '; onnx and openvino can: else take its backbone (part=backbone) or, if it '
            'is in two stages, its dense part (part=dense)'
        )
        article = 'an' if kind[0] in 'aeiou' else 'a'
        raise UserError(
            f'{name} cannot hold {article} {kind}, only a {", a ".join(precisions)}'
            f'{advice if kind == "detector" else ""}'
        )
    if precision not in precisions[kind]:
        raise UserError(
            f'{name} holds no {kind} in {precision}: choose one of '
            f'{", ".join(precisions[kind])}'
        )


def list_precisions(writer: ModuleType, kind: str) -> tuple[str, ...]:
    """List the precisions of a format that this machine computes in.

    Args:
        writer: The format's module.
        kind: The kind of graph.

    Returns:
        Those that it has for that kind, the most exact first; without bf16 where the
        processor has none, as fp32 is computed in its place.
    """
    held = writer.PRECISIONS.get(kind, ())
    return tuple(name for name in held if name != 'bf16' or has_bf16())
