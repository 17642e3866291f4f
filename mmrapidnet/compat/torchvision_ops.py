"""Lets torchvision import beside a torch its own operators were not built for.

Reason:
    ``pip`` may pair a CPU build of torch with a torchvision built for CUDA.
    torchvision's C extension then does not load, and its Python side, which
    attaches shape functions to the operators ``nms`` and ``qnms`` the extension
    would have declared, fails with ``operator torchvision::nms does not exist``;
    mmpretrain, timm and mmengine's environment report fail with it.

Condition:
    torchvision is installed, not yet imported, and these operators are absent
    after its extension was given the chance to load.

What it does:
    Declares the schemas of the absent ones.  They have no kernels: calling
    one raises, as it should (mmcv brings its own NMS).
"""

import contextlib
import functools
import sys
from importlib.machinery import EXTENSION_SUFFIXES
from importlib.util import find_spec
from pathlib import Path

import torch

SCHEMAS = {
    'nms': '(Tensor dets, Tensor scores, float iou_threshold) -> Tensor',
    'qnms': '(Tensor dets, Tensor scores, float iou_threshold) -> Tensor',
}


def apply() -> None:
    """Declare torchvision's operators where its own extension cannot."""
    package = find_spec('torchvision')
    if package is None or 'torchvision' in sys.modules:
        return
    _load_extension(package.submodule_search_locations[0])
    _declare_absent()


def _load_extension(folder: str) -> None:
    """Load what declares the operators as torchvision does, without importing it.

    It is called ``_C``, since 0.29.2 ``_C_stable``.
    """
    for file in Path(folder).glob('_C*'):
        if file.name.endswith(tuple(EXTENSION_SUFFIXES)):
            # OSError: built for another torch, the case patched here.
            with contextlib.suppress(OSError):
                torch.ops.load_library(str(file))


@functools.lru_cache(maxsize=1)
def _declare_absent() -> torch.library.Library:
    """The declaring library; the cache keeps it, and so the operators, alive."""
    library = torch.library.Library('torchvision', 'FRAGMENT')
    for name, schema in SCHEMAS.items():
        if not hasattr(torch.ops.torchvision, name):
            library.define(name + schema)
    return library
