"""One image file: can it be read, and as what?"""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

from mmrapidnet.datasets.check.problem import Problem
from mmrapidnet.datasets.check.source import Sample, Source

LARGE = 10_000  # pixels a side
_ORIENTATION = 0x0112  # Exif
_BITS_PER_SAMPLE = 258  # TIFF
_GREY_MODES = ('1', 'L', 'I', 'F')
_BYTE_BITS = 8
_WHITE = 255
# Fewer levels of grey than these, of as many as there are values, show nothing.
_LEVELS = 32
_CLIPPED = 0.05  # share of the pixels
_VALUES = 1_000_000
KEEP_DEPTH = (
    'keep them by `color_type=3, to_float32=True` (colour of any depth, with OpenCV) '
    'of LoadImageFromFile in every pipeline, and mean and std of these values in '
    'data_preprocessor'
)
_START_OF_JPEG, _END_OF_JPEG = b'\xff\xd8', b'\xff\xd9'
# Cameras append a little; a preview inside the file ends with the same bytes.
_TAIL = 1024


def check_image(
    sample: Sample, source: Source
) -> tuple[tuple[int, int] | None, list[Problem]]:
    """Read an image as the config's pipeline reads it.

    Args:
        sample: The image.
        source: Its data set.

    Returns:
        Its height and width as read, None if it cannot be, and what is wrong with it
        or unusual.
    """

    def problem(kind: str, detail: str, stops: bool = True) -> Problem:
        return Problem(kind, sample.image, detail, sample.record, stops)

    content = Path(sample.image).read_bytes()
    header = _read_header(content)
    try:
        image = source.loader({'img_path': sample.image})['img']
    except Exception as error:
        detail = _why(content, header, error)
        return None, [problem('image cannot be decoded', detail)]
    size = image.shape[:2]
    lost = _lost_depth(content, header, image)
    if lost:
        return size, [problem('image that loses its depth', lost)]
    wrong = [problem(*told) for told in _wrong_size(sample, size, source)]
    odd = _odd(content, header, image, source)
    return size, wrong + [problem(*told, stops=False) for told in odd]


def find_lost_depth(
    path: str | Path,
    load: Callable[[dict[str, Any]], dict[str, Any]],
    advice: str = KEEP_DEPTH,
) -> str | None:
    """Say what is lost of an image of more than 8 bits a channel.

    Full 16 bits are read as 8 without harm; what fills only the lower 12 of them, as
    cameras and microscopes write it, is read as a dozen levels of grey.

    Args:
        path: The image.
        load: The transform that reads it; an image that tells itself to be of 8 bits is
            not read.
        advice: How to keep the values. Defaults to how a config's pipelines do.

    Returns:
        What becomes of its values, and the advice; None if they are kept.
    """
    content = Path(path).read_bytes()
    header = _read_header(content)
    if header and _bits(content, header) <= _BYTE_BITS:
        return None
    return _lost_depth(content, header, load({'img_path': str(path)})['img'], advice)


def find_thinness(height: int, width: int, source: Source) -> str | None:
    """Say how small an image gets if its resizing leaves under two pixels of a side.

    mmcv cannot resize to none, and what it flips of one the libraries cannot pack.
    What the data set leaves out as too small is none of it.
    """
    scale = source.smallest_scale
    if scale is None or min(height, width) < source.min_size:
        return None
    short, long = sorted((height, width))
    factor = min(max(scale) / long, min(scale) / short)
    if int(short * factor + 0.5) >= 2:
        return None
    return f'{width}x{height} resized to {scale}: under two pixels a side'


def _wrong_size(
    sample: Sample, size: tuple[int, int], source: Source
) -> Iterator[tuple[str, str]]:
    if sample.size and size != tuple(sample.size):
        read, declared = (f'{s[1]}x{s[0]}' for s in (size, sample.size))
        detail = f'it is read as {read}, but the annotations say {declared}'
        yield 'image of another size than annotated', detail
    thinness = find_thinness(*size, source)
    if thinness:
        yield 'image too thin to resize', thinness


def _lost_depth(
    content: bytes,
    header: Image.Image | None,
    image: np.ndarray,
    advice: str = KEEP_DEPTH,
) -> str | None:
    if image.dtype != np.uint8 or (header and _bits(content, header) <= _BYTE_BITS):
        return None
    stored = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    if stored is None or stored.dtype == np.uint8:
        return None
    some, some_read = _spread(stored), _spread(image)
    few = np.ptp(some_read) < _LEVELS
    coarse = few and len(np.unique(some_read)) < len(np.unique(some))
    clipped = np.mean(some_read == _WHITE) - np.mean(some >= some.max()) > _CLIPPED
    if not (coarse or clipped):
        return None
    return (
        f'its values {stored.min()} to {stored.max()} are read as {image.min()} to '
        f'{image.max()}; {advice}'
    )


def _spread(values: np.ndarray) -> np.ndarray:
    """About as many values of an image as tell what there are."""
    return values.ravel()[:: max(1, values.size // _VALUES)]


def _odd(
    content: bytes, header: Image.Image | None, image: np.ndarray, source: Source
) -> Iterator[tuple[str, str]]:
    height, width = image.shape[:2]
    if min(height, width) == 1:
        dropped = source.min_size > 1
        fate = 'left out of training' if dropped else 'resized like others'
        yield 'image one pixel wide or high', fate
    if max(height, width) > LARGE:
        yield f'image over {LARGE:,} pixels wide or high', 'resized like others'
    if header is None:
        return
    if content.startswith(_START_OF_JPEG) and _END_OF_JPEG not in content[-_TAIL:]:
        yield 'truncated image', 'the decoder makes up what is missing'
    if header.mode == 'CMYK':
        yield 'CMYK image', 'read as three colours'
    if header.mode.startswith(_GREY_MODES):
        yield 'grey image', 'read as three equal colours'
    bits = _bits(content, header)
    if bits > _BYTE_BITS:
        yield f'image of {bits} bits', f'read as {8 * image.dtype.itemsize} bits'
    if header.getexif().get(_ORIENTATION, 1) != 1:
        yield 'image with an Exif orientation', 'read as its Exif says'


def _read_header(content: bytes) -> Image.Image | None:
    """What Pillow says of it without decoding it; None if it does not know it."""
    try:
        with warnings.catch_warnings():
            # Of "decompression bombs": sizes are reported here.
            warnings.simplefilter('ignore', Image.DecompressionBombWarning)
            return Image.open(io.BytesIO(content))
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, SyntaxError):
        return None


def _why(content: bytes, header: Image.Image | None, error: Exception) -> str:
    if header is None:
        return 'it is no image, or ends in its header'
    try:
        header.load()
    except (OSError, SyntaxError, ValueError) as reason:
        return f'{header.format}, {reason}'
    return f'{header.format}, {type(error).__name__}: {error}'


def _bits(content: bytes, header: Image.Image) -> int:
    """Bits a channel."""
    if header.format == 'PNG':
        return content[24]
    if header.format == 'TIFF':
        return max(header.tag_v2.get(_BITS_PER_SAMPLE, (8,)))
    return 8
