"""Fuse a model: an evaluation-only copy without batch normalisation."""

from __future__ import annotations

from copy import deepcopy
from functools import partial

import torch
from torch import nn

from mmrapidnet.models.reparam import reparameterize
from mmrapidnet.utils.errors import UserError

_MARK = 'mmrapidnet_fused'


def fuse(model: nn.Module) -> nn.Module:
    """Make an evaluation-only copy in which everything linear is merged.

    Convolutions take up the batch normalisation after them (also in necks and
    heads), the position encoding its identity, projections the layer scale, RepViT's
    parallel branches become one kernel, and two classifiers one; see
    `mmrapidnet.models.reparam`. The outputs are the same but for rounding.

    Args:
        model: A backbone, or any model that holds one, in evaluation mode. It is
            left as it is.

    Returns:
        The copy, without gradients; a fused model itself.

    Raises:
        UserError: If the model is in training mode. ``train()`` of the copy raises
            one, too.

    Examples:
        >>> from mmrapidnet.models import RapidNet
        >>> fused = fuse(RapidNet(arch='ti').eval())
        >>> is_fused(fused), any('norm' in name for name in fused.state_dict())
        (True, False)
    """
    if is_fused(model):
        return model
    if model.training:
        raise UserError(
            f'{type(model).__name__} is in training mode: fusing merges the running '
            'statistics of its normalisations; call eval() first'
        )
    with torch.no_grad():
        fused = reparameterize(deepcopy(model)).eval().requires_grad_(False)
    setattr(fused, _MARK, True)
    fused.train = partial(_stay_in_evaluation, fused)
    return fused


def is_fused(model: nn.Module) -> bool:
    """Whether a model was made by `fuse`."""
    return getattr(model, _MARK, False)


def _stay_in_evaluation(model: nn.Module, mode: bool = True) -> nn.Module:
    """Take the place of ``train`` of a fused model."""
    if mode:
        raise UserError(
            f'this {type(model).__name__} is fused, for evaluation only: train the '
            'model it was made from'
        )
    return type(model).train(model, False)
