"""One image file: can it be read, and as what?"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from mmrapidnet.data_check.problem import Problem
from mmrapidnet.data_check.sample import Sample
from mmrapidnet.data_check.source import Source

LARGE = 10_000  # pixels a side
_ORIENTATION = 0x0112  # Exif
_BITS_PER_SAMPLE = 258  # TIFF
_GREY_MODES = ('1', 'L', 'I', 'F')
_END_OF_JPEG = b'\xff\xd9'
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
    content = Path(sample.image).read_bytes()
    header = _read_header(content)
    try:
        size = source.loader({'img_path': sample.image})['img'].shape[:2]
    except Exception as error:
        detail = _why(content, header, error)
        kind = 'image cannot be decoded'
        return None, [Problem(kind, sample.image, detail, sample.record)]
    odd = _odd_content(content, header, source) if header else ()
    return size, [
        *_wrong_size(sample, size, source),
        *(
            Problem(kind, sample.image, detail, sample.record, stops=False)
            for kind, detail in (*_odd_size(*size, source), *odd)
        ),
    ]


def too_thin(height: int, width: int, scale: tuple[float, float] | None) -> bool:
    """Whether resizing with the ratio kept leaves under two pixels of a side.

    mmcv cannot resize to none, and what it flips of one the libraries cannot pack.

    Args:
        height: Pixels.
        width: Pixels.
        scale: The longest and the shortest side allowed, in any order; None if
            nothing is resized.

    Returns:
        Whether it does.

    Examples:
        >>> too_thin(64, 12_000, (192, 192)), too_thin(200, 12_000, (192, 192))
        (True, False)
    """
    if scale is None:
        return False
    short, long = sorted((height, width))
    factor = min(max(scale) / long, min(scale) / short)
    return int(short * factor + 0.5) < 2


def _wrong_size(
    sample: Sample, size: tuple[int, int], source: Source
) -> Iterator[Problem]:
    read = f'{size[1]}x{size[0]}'
    if sample.size and size != tuple(sample.size):
        kind = 'image of another size than annotated'
        declared = f'{sample.size[1]}x{sample.size[0]}'
        detail = f'it is read as {read}, but the annotations say {declared}'
        yield Problem(kind, sample.image, detail, sample.record)
    if too_thin(*size, source.smallest_scale) and min(size) >= source.min_size:
        detail = f'{read} resized to {source.smallest_scale}: under two pixels a side'
        yield Problem('image too thin to resize', sample.image, detail, sample.record)


def _odd_size(height: int, width: int, source: Source) -> Iterator[tuple[str, str]]:
    if min(height, width) == 1:
        dropped = source.min_size > 1
        fate = 'left out of training' if dropped else 'resized like others'
        yield 'image one pixel wide or high', fate
    if max(height, width) > LARGE:
        yield f'image over {LARGE:,} pixels wide or high', 'resized like others'


def _odd_content(
    content: bytes, header: Image.Image, source: Source
) -> Iterator[tuple[str, str]]:
    if _is_cut(content):
        yield 'truncated image', 'the decoder makes up what is missing'
    if header.mode == 'CMYK':
        yield 'CMYK image', 'read as three colours'
    if header.mode.startswith(_GREY_MODES):
        yield 'grey image', 'read as three equal colours'
    if _bits(content, header) == 16:
        # Pillow converts colours itself, but clips grey.
        clipped = source.loader.imdecode_backend == 'pillow' and header.mode != 'RGB'
        yield 'image of 16 bits', 'clipped at 255' if clipped else 'read as 8 bits'
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


def _is_cut(content: bytes) -> bool:
    """Whether a JPEG file ends before its image does."""
    is_jpeg = content.startswith(b'\xff\xd8')
    return is_jpeg and _END_OF_JPEG not in content[-_TAIL:]


def _bits(content: bytes, header: Image.Image) -> int:
    """Bits a channel."""
    if header.format == 'PNG':
        return content[24]
    if header.format == 'TIFF':
        return max(header.tag_v2.get(_BITS_PER_SAMPLE, (8,)))
    return 8
