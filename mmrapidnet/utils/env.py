"""What a figure was measured on."""

from __future__ import annotations

import platform
import re
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

_PACKAGES = (
    'mmrapidnet',
    'torch',
    'numpy',
    'mmengine',
    'mmcv',
    'mmdet',
    'mmsegmentation',
    'mmpretrain',
    'timm',
    'onnx',
    'onnxruntime',
    'openvino',
    'nncf',
    'ncnn',
)


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
    found = re.search(r'model name\s*: (.+)', _cpuinfo())
    name = found[1] if found else platform.processor() or platform.machine()
    count = torch.get_num_threads()
    return f'{name}, {count} thread{"s" * (count > 1)}'


def has_bf16(device: str = 'cpu') -> bool:
    """Whether a device computes in bfloat16 by instructions of its own.

    Args:
        device: 'cpu' or 'cuda'. Defaults to 'cpu'.

    Returns:
        Of a CPU what ``/proc/cpuinfo`` says of it; False where there is none.
    """
    if device != 'cpu':
        return torch.cuda.is_bf16_supported()
    return bool({'avx512_bf16', 'amx_bf16', 'bf16'} & set(_cpuinfo().split()))


def list_versions() -> dict[str, str]:
    """The versions of what takes part, as far as it is installed."""
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _cpuinfo() -> str:
    """What Linux tells of its processors; empty elsewhere."""
    path = Path('/proc/cpuinfo')
    return path.read_text() if path.exists() else ''
