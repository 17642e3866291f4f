"""The device that a command line asks for."""

from __future__ import annotations

import torch
from mmengine.device import get_device

from mmrapidnet.utils.errors import UserError


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
