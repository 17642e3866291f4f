"""Learning rates that decay from layer to layer, for backbones that know their layers.

Reason:
    The constructors of mmdet and mmsegmentation for it
    (``LearningRateDecayOptimizerConstructor``, ``LayerDecayOptimizerConstructor``) know
    the layers of ConvNeXt, BEiT and MAE by the names of their classes and raise
    ``NotImplementedError`` for any other backbone; mmpretrain's
    (``LearningRateDecayOptimWrapperConstructor``) asks the model, which in the other
    two libraries does not know them.

Condition:
    When such a constructor is called, and the model's backbone has a
    ``get_layer_depth`` (``get_stage_depth`` for ``decay_type='stage_wise'``), as
    those of this project have.

What it does:
    The parameters get the groups, rates and weight decays that the constructor would
    give them, in the layers that the backbone tells.  Their number is the backbone's,
    so ``num_layers`` is not heeded, which is said where it is another one.
"""

import functools
import logging
from collections.abc import Callable
from typing import Any

from torch import nn

from mmrapidnet.compat.patching import wrap

_BY_CLASS_NAME = 'LearningRateDecayOptimizerConstructor'
_BY_MODEL = 'LearningRateDecayOptimWrapperConstructor'
_KNOWN_BY_CLASS = ('ConvNeXt', 'BEiT', 'MAE')


def apply() -> None:
    """Let the constructors for optimizers ask the backbone for its layers."""
    from mmengine.optim import DefaultOptimWrapperConstructor

    # What all of them inherit from: the libraries are not imported for this.
    wrap(DefaultOptimWrapperConstructor, '__call__', _construct)


def _construct(stock: Callable[..., Any], self: Any, model: nn.Module) -> Any:
    backbone = getattr(getattr(model, 'module', model), 'backbone', None)
    kinds = {kind.__name__ for kind in type(self).__mro__}
    if _BY_MODEL in kinds and hasattr(backbone, 'get_layer_depth'):
        depth = functools.partial(backbone.get_layer_depth, prefix='backbone.')
        self.add_params = functools.partial(self.add_params, get_layer_depth=depth)
    elif _BY_CLASS_NAME in kinds and not any(
        name in type(backbone).__name__ for name in _KNOWN_BY_CLASS
    ):
        by_stage = self.paramwise_cfg.get('decay_type') == 'stage_wise'
        method = 'get_stage_depth' if by_stage else 'get_layer_depth'
        depth = getattr(backbone, method, None)
        if depth is not None:
            self.add_params = functools.partial(_add_params, self, depth)
    return stock(self, model)


def _add_params(
    self: Any,
    get_depth: Callable[[str, str], tuple[int, int]],
    params: list[dict],
    module: nn.Module,
    **_: Any,
) -> None:
    """Group parameters by layer and by whether they have weight decay."""
    from mmengine.logging import print_log

    rate = self.paramwise_cfg['decay_rate']
    groups: dict[str, dict] = {}
    for name, parameter in module.named_parameters():
        if not parameter.requires_grad:
            continue
        layer, count = get_depth(name, 'backbone.')
        decays = parameter.ndim != 1 and not name.endswith('.bias')
        key = f'layer_{layer}_{"decay" if decays else "no_decay"}'
        scale = rate ** (count - layer - 1)
        new = dict(
            params=[],
            param_names=[],
            group_name=key,
            weight_decay=self.base_wd if decays else 0.0,
            lr_scale=scale,
            lr=scale * self.base_lr,
        )
        group = groups.setdefault(key, new)
        group['params'].append(parameter)
        group['param_names'].append(name)
    params.extend(groups.values())
    asked = self.paramwise_cfg.get('num_layers')
    if asked not in (None, count - 2):
        print_log(
            f'paramwise_cfg.num_layers={asked} is not heeded: '
            f'{type(module.backbone).__name__} has {count - 2} layers between its stem '
            'and the heads',
            logger='current',
            level=logging.WARNING,
        )
