"""Train with feature maps as NHWC in memory, which convolutions are faster in.

Importing this module registers the hook; in a config::

    custom_imports = dict(
        imports=['mmrapidnet', 'mmrapidnet.engine.hooks.channels_last']
    )
    custom_hooks = [dict(type='ChannelsLastHook')]
"""

from __future__ import annotations

import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner


@HOOKS.register_module()
class ChannelsLastHook(Hook):
    """Lays the weights of convolutions out as NHWC before an iteration is run.

    Convolutions then give such feature maps, whatever the images are laid out as, and
    compute the same but for rounding.  Checkpoints do not change.

    This happens once the weights have their values: random initialisers fill a tensor
    in the order of its memory, so other weights would be drawn into another layout.
    """

    def before_train(self, runner: Runner) -> None:
        """Change the model in place."""
        runner.model.to(memory_format=torch.channels_last)

    before_val = before_test = before_train
