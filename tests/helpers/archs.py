"""The architectures: what they cost, and one per family where it proves enough."""

import re
from collections.abc import Collection

import pytest

# From the smallest to the largest.
_ARCHS = ('ti', 'm0_6', 'm0_9', 's', 'm1_0', 'm1_1', 'm', 'm1_5', 'b', 'm2_3')
_ARCH = re.compile(rf'_({"|".join(_ARCHS)})(?=_|$)')

# Counted on the published implementations: millions of parameters with both
# classifiers, billions of multiply-accumulates at 224.
COSTS = {
    'rapidnet_ti': (6.628, 0.628),
    'rapidnet_s': (9.213, 0.912),
    'rapidnet_m': (17.304, 1.615),
    'rapidnet_b': (30.556, 3.384),
    'mobilevig_ti': (5.271, 0.674),
    'mobilevig_s': (7.277, 1.002),
    'mobilevig_m': (14.076, 1.513),
    'mobilevig_b': (26.869, 2.827),
    'repvit_m0_6': (2.809, 0.395),
    'repvit_m0_9': (5.489, 0.832),
    'repvit_m1_0': (7.303, 1.125),
    'repvit_m1_1': (8.803, 1.358),
    'repvit_m1_5': (14.644, 2.308),
    'repvit_m2_3': (23.689, 4.574),
}


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
