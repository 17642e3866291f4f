"""Loads checkpoints as data: nothing stored in one is ever executed.

Reason:
    mmengine 0.10 calls ``torch.load`` without ``weights_only``.  Before torch
    2.6 that runs any code a file brings along, and since then it refuses
    mmengine's own checkpoints, for their ``HistoryBuffer`` objects; a download
    (``torch.hub``) is unpickled without any restriction with either.  The fork
    (onedl-mmengine 0.10.12) allows a few names, ``builtins.getattr`` among them, and
    where they are not enough loads the file again without restrictions.

Condition:
    Always.

What it does:
    Everything mmengine loads (``Runner.load_checkpoint`` and ``resume``,
    ``Pretrained``, ``init_detector``, ``init_model``, inferencers) goes through
    `mmrapidnet.checkpoints.safe_load`.
"""

from typing import Any

import torch

from mmrapidnet.checkpoints.safe_load.load import load, load_stream, load_url


def apply() -> None:
    """Let mmengine load through `load`."""
    from mmengine.runner import checkpoint

    checkpoint.torch = _SafeTorch()
    checkpoint.load_url = load_url


class _SafeTorch:
    """torch, as mmengine's checkpoint module sees it, with a safe ``load``."""

    def __getattr__(self, name: str) -> Any:
        return getattr(torch, name)

    @staticmethod
    def load(file: Any, map_location: Any = None, **_: Any) -> dict:
        if hasattr(file, 'read'):
            return load_stream(file, getattr(file, 'name', '(in memory)'), map_location)
        return load(file, map_location)
