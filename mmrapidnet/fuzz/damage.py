"""What happens to files: bits flip, ends are lost, contents are swapped."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

Damage = Callable[[bytes, random.Random, Sequence[bytes]], bytes]


def flip_bits(content: bytes, draw: random.Random, others: Sequence[bytes]) -> bytes:
    """Flip up to 16 bits."""
    changed = bytearray(content)
    for _ in range(draw.randint(1, 16) if changed else 0):
        changed[draw.randrange(len(changed))] ^= 1 << draw.randrange(8)
    return bytes(changed)


def flip_ends(content: bytes, draw: random.Random, others: Sequence[bytes]) -> bytes:
    """Flip up to 16 bits of the first or the last 512 bytes, where formats live."""
    cut = min(512, len(content))
    if draw.random() < 0.5:
        return flip_bits(content[:cut], draw, others) + content[cut:]
    split = len(content) - cut
    return content[:split] + flip_bits(content[split:], draw, others)


def truncate(content: bytes, draw: random.Random, others: Sequence[bytes]) -> bytes:
    """Keep a part from the start, often very little."""
    return content[: int(len(content) * draw.random() ** 3)]


def blank(content: bytes, draw: random.Random, others: Sequence[bytes]) -> bytes:
    """Zero a block, as a disk does that was not synced."""
    start = draw.randint(0, len(content))
    length = draw.randint(0, len(content) - start)
    return content[:start] + bytes(length) + content[start + length :]


def repeat(content: bytes, draw: random.Random, others: Sequence[bytes]) -> bytes:
    """Repeat a block."""
    start = draw.randint(0, len(content))
    block = content[start : start + draw.randint(1, 4096)]
    return content[:start] + block + content[start:]


def replace(content: bytes, draw: random.Random, others: Sequence[bytes]) -> bytes:
    """Put a block of another file in, or all of it."""
    other = draw.choice(others)
    if draw.random() < 0.5:
        return other
    start = draw.randint(0, len(content))
    block = other[: draw.randint(0, len(other))]
    return content[:start] + block + content[start + len(block) :]


def noise(content: bytes, draw: random.Random, others: Sequence[bytes]) -> bytes:
    """Something else altogether, or nothing."""
    return draw.randbytes(draw.choice([0, 1, 8, 100, 10_000]))


DAMAGES: tuple[Damage, ...] = (
    *(flip_bits, flip_ends, truncate, blank, repeat, replace, noise),
)
