"""Train with feature maps as NHWC in memory, which convolutions are faster in.

Importing this module registers the hook; in a config::

    custom_imports = dict(imports=['mmrapidnet', 'mmrapidnet.engine.channels_last'])
    custom_hooks = [dict(type='ChannelsLastHook')]
"""

from __future__ import annotations

import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner


@HOOKS.register_module()
class ChannelsLastHook(Hook):
    """Lays the weights of convolutions out as NHWC before a run.

    Convolutions then give such feature maps, whatever the images are laid out as, and
    compute the same but for rounding.  Checkpoints do not change.
    """

    def before_run(self, runner: Runner) -> None:
        """Change the model in place."""
        runner.model.to(memory_format=torch.channels_last)
