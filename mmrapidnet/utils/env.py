"""The machine: the device that a command line asks for, and what there is."""

from __future__ import annotations

import os
import platform
import re
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch
from mmengine.device import get_device

from mmrapidnet.utils.errors import UserError

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
    'executorch',
    'litert-torch',
    'ai-edge-litert',
    'ai-edge-quantizer',
)
# What oneDNN may be held to (its ONEDNN_MAX_CPU_ISA) that has no bfloat16.
_ISA_WITHOUT_BF16 = {
    'SSE41',
    'AVX',
    'AVX2',
    'AVX2_VNNI',
    'AVX512_CORE',
    'AVX512_CORE_VNNI',
}


def find_device(name: str | None = None) -> torch.device:
    """Find a device and make sure that PyTorch can compute there.

    Args:
        name: Such as 'cpu' or 'cuda:0'. Defaults to None: a GPU if there is one.

    Returns:
        The device.

    Raises:
        UserError: If there is no such device here.

    Examples:
        >>> find_device('cpu')
        device(type='cpu')
    """
    name = name or get_device()
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).item()
    # What a missing backend raises differs; NotImplementedError is of 'meta'.
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(
            f'--device {name}: PyTorch has no such device here ({reason}); give '
            '--device cpu'
        ) from error
    return device


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
        Of a CPU what ``/proc/cpuinfo`` says of it, unless ``ONEDNN_MAX_CPU_ISA``
        forbids it: asked for it all the same, OpenVINO 2026.4 computes wrong values or
        ends the process. False where there is no such file.
    """
    if device != 'cpu':
        return torch.cuda.is_bf16_supported()
    if os.environ.get('ONEDNN_MAX_CPU_ISA', '').upper() in _ISA_WITHOUT_BF16:
        return False
    return bool({'avx512_bf16', 'amx_bf16', 'bf16'} & set(_cpuinfo().split()))


def list_versions() -> dict[str, str]:
    """The versions of what takes part, as far as it is installed.

    That of torch says of its build, too: the metadata of one for CUDA does not.
    """
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return {**found, 'torch': str(torch.__version__)}


def _cpuinfo() -> str:
    """What Linux tells of its processors; empty elsewhere."""
    path = Path('/proc/cpuinfo')
    return path.read_text() if path.exists() else ''
