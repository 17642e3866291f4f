"""The name of what a figure was measured on."""

from __future__ import annotations

import platform
import re
from pathlib import Path

import torch


def processor_name(device: str | None = None) -> str:
    """The GPU, or the CPU and its threads.

    Args:
        device: 'cpu' or 'cuda'. Defaults to None: what models run on by themselves, a
            GPU if there is one.

    Returns:
        Its name.
    """
    if torch.cuda.is_available() and device != 'cpu':
        return torch.cuda.get_device_name()
    linux = Path('/proc/cpuinfo')
    found = linux.exists() and re.search(r'model name\s*: (.+)', linux.read_text())
    name = found[1] if found else platform.processor() or platform.machine()
    count = torch.get_num_threads()
    return f'{name}, {count} thread{"s" * (count > 1)}'
