"""The runtimes that latency is measured in, and which of them a machine has."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from dev.subprocess_steps import print_now
from mmrapidnet.apis.latency import wait_for
from mmrapidnet.utils.env import has_bf16
from mmrapidnet.utils.errors import UserError

_DTYPES = {'fp32': torch.float32, 'bf16': torch.bfloat16, 'fp16': torch.float16}


@dataclass(frozen=True)
class Runtime:
    """How a model is run.

    Attributes:
        name: What it is called on the command line and in tables.
        precision: 'fp32', 'bf16', 'fp16' or 'int8'.  In PyTorch the lower ones are
            automatic mixed precision.
        fused: Whether everything linear is merged first.
        channels_last: Whether PyTorch keeps feature maps as NHWC in memory.
        compiled: Whether by ``torch.compile``.
        format: The format of the exported file that is run; None in PyTorch.
    """

    name: str
    precision: str = 'fp32'
    fused: bool = False
    channels_last: bool = False
    compiled: bool = False
    format: str | None = None


_IN_TORCH = {
    'eager': {},
    'channels_last': dict(channels_last=True),
    'fused': dict(fused=True),
    'fused-channels_last': dict(fused=True, channels_last=True),
    'compile': dict(fused=True, channels_last=True, compiled=True),
}
_EXPORTED = {
    'onnxruntime': ('onnx', ('fp32',)),
    'openvino': ('openvino', ('fp32', 'bf16', 'int8')),
    'ncnn': ('ncnn', ('fp32',)),
}


def _list_runtimes() -> list[Runtime]:
    in_torch = [
        Runtime(_name(name, precision), precision, **options)
        for name, options in _IN_TORCH.items()
        for precision in _DTYPES
    ]
    exported = [
        Runtime(_name(name, precision), precision, fused=True, format=format_)
        for name, (format_, precisions) in _EXPORTED.items()
        for precision in precisions
    ]
    return [*in_torch, *exported]


def _name(name: str, precision: str) -> str:
    return name if precision == 'fp32' else f'{name}-{precision}'


# By name: 'eager' (as a model comes out of training), 'fused', 'openvino-int8', ...
RUNTIMES = {runtime.name: runtime for runtime in _list_runtimes()}


def find_runtime(name: str, device: str = 'cpu') -> Runtime:
    """Find a runtime that works on this machine.

    Args:
        name: One of `RUNTIMES`.
        device: 'cpu' or 'cuda'. Defaults to 'cpu'.

    Returns:
        The runtime.

    Raises:
        UserError: If there is none of that name, its package is not installed, or
            the device lacks what it needs.

    Examples:
        >>> find_runtime('fused-channels_last').fused
        True
    """
    if name not in RUNTIMES:
        raise UserError(
            f"unknown runtime '{name}': choose some of {', '.join(RUNTIMES)}"
        )
    runtime = RUNTIMES[name]
    if runtime.format:
        from mmrapidnet.deploy.formats import load_format

        load_format(runtime.format)
        if device != 'cpu':
            raise UserError(
                f'{name} runs on the CPU here: leave it out or give --device cpu'
            )
    if runtime.compiled and device == 'cpu' and not _find_compiler():
        raise UserError(
            f'{name} needs a C++ compiler, such as g++: install one or leave it out'
        )
    if runtime.precision == 'fp16' and device == 'cpu':
        raise UserError(f'{name} needs a GPU: give --device cuda, or take bf16 or fp32')
    if runtime.precision == 'bf16' and not has_bf16(device):
        raise UserError(
            f'{name} needs bf16 instructions (on x86 avx512_bf16 or amx_bf16), which '
            'this device lacks: leave it out'
        )
    return runtime


def available_runtimes(names: Sequence[str], device: str = 'cpu') -> list[str]:
    """Keep the runtimes that work on this machine, and say why the others do not.

    Args:
        names: Some of `RUNTIMES`.
        device: 'cpu' or 'cuda'. Defaults to 'cpu'.

    Returns:
        Those that work, in their order.
    """
    available = []
    for name in names:
        try:
            find_runtime(name, device)
        except UserError as error:
            print_now(f'left out: {error}')
        else:
            available.append(name)
    return available


def compile_module(module: nn.Module, runtime: Runtime, device: str) -> nn.Module:
    """Compile a module for one size of images.

    Weights are constants to the compiler outside training; on a GPU the kernels are
    replayed as a CUDA graph.

    Args:
        module: Any module.
        runtime: A compiled one; others leave the module as it is.
        device: 'cpu' or 'cuda'.

    Returns:
        The module that is to be called.
    """
    if not runtime.compiled:
        return module
    options = dict(freezing=not module.training)
    if device != 'cpu':
        options['triton.cudagraphs'] = True
    return torch.compile(module, dynamic=False, fullgraph=True, options=options)


def compile_parts(model: nn.Module, runtime: Runtime, device: str) -> nn.Module:
    """Compile what a detector or a segmenter has of backbone and neck.

    Args:
        model: The model, changed in place.
        runtime: A compiled one; others leave the model as it is.
        device: 'cpu' or 'cuda'.

    Returns:
        The model.
    """
    for part in ('backbone', 'neck'):
        if getattr(model, part, None) is not None:
            module = compile_module(getattr(model, part), runtime, device)
            setattr(model, part, module)
    return model


def place(module: nn.Module, runtime: Runtime, device: str) -> nn.Module:
    """Put a module on a device in the runtime's memory format.

    Args:
        module: Any module, changed in place.
        runtime: One of PyTorch's.
        device: 'cpu' or 'cuda'.

    Returns:
        The module.
    """
    return module.to(device, memory_format=memory_format(runtime))


def memory_format(runtime: Runtime) -> torch.memory_format:
    """How feature maps lie in memory."""
    return torch.channels_last if runtime.channels_last else torch.contiguous_format


def mixed_precision(runtime: Runtime, device: str) -> AbstractContextManager:
    """The context in which a runtime of PyTorch's computes in its precision."""
    if runtime.precision == 'fp32':
        return nullcontext()
    return torch.autocast(device, dtype=_DTYPES[runtime.precision])


def call_in_torch(
    function: Callable[[], Any], runtime: Runtime, device: str
) -> Callable[[], Any]:
    """Make a call in PyTorch that ends when its result is there.

    Args:
        function: What to compute; nothing is kept for a backward pass.
        runtime: One of PyTorch's.
        device: 'cpu' or 'cuda'.

    Returns:
        The call.
    """

    def call() -> Any:
        with torch.inference_mode(), mixed_precision(runtime, device):
            result = function()
        wait_for(device)
        return result

    return call


def _find_compiler() -> str | None:
    return shutil.which(os.environ.get('CXX', 'g++')) or shutil.which('clang++')
