"""The name of what a figure was measured on."""

from __future__ import annotations

import platform
import re
from pathlib import Path

import torch


def processor_name() -> str:
    """The GPU that models run on, or where there is none the CPU and its threads."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    linux = Path('/proc/cpuinfo')
    found = linux.exists() and re.search(r'model name\s*: (.+)', linux.read_text())
    name = found[1] if found else platform.processor() or platform.machine()
    return f'{name}, {torch.get_num_threads()} threads'
