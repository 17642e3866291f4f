"""One architecture per family where it proves what all of them prove."""

import re
from collections.abc import Collection

import pytest

# From the smallest to the largest.
_ARCHS = ('ti', 'm0_6', 'm0_9', 's', 'm1_0', 'm1_1', 'm', 'm1_5', 'b', 'm2_3')
_ARCH = re.compile(rf'_({"|".join(_ARCHS)})(?=_|$)')


def one_per_family(names: Collection[str]) -> list:
    """Mark as slow all but the smallest of names that differ in their architecture.

    Args:
        names: Names of models or of configs.

    Returns:
        The parameters of a test, of which `make test` takes one per family.

    Examples:
        >>> params = one_per_family(['rapidnet_s_in1k', 'rapidnet_ti_in1k'])
        >>> [name for name in params if isinstance(name, str)]
        ['rapidnet_ti_in1k']
    """
    smallest = {}
    for name in sorted(names, key=_size):
        smallest.setdefault(_ARCH.sub('', name), name)
    slow = pytest.mark.slow
    return [
        name if name in smallest.values() else pytest.param(name, marks=slow)
        for name in names
    ]


def _size(name: str) -> int:
    found = _ARCH.search(name)
    return _ARCHS.index(found[1]) if found else 0
