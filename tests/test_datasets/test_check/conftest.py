"""What these tests share."""

import gc
from importlib import import_module

import pytest


@pytest.fixture(scope='session', autouse=True)
def _collect_little():
    """Spare what is imported once from the collections of every data set.

    mmengine collects garbage whenever it builds one.
    """
    for library in ('mmdet', 'mmseg', 'mmpretrain'):
        import_module(f'{library}.datasets')
    gc.freeze()
