"""Pretrained weights that do not fill a backbone are an error, whosever it is.

Reason:
    ``PretrainedInit``, which ``init_cfg=dict(type='Pretrained', ...)`` means, loads
    what matches and only logs what does not.  A file of another model, or one with
    names under a prefix that the config does not give, matches nothing, and training
    starts from random weights.

Condition:
    Always.

What it does:
    Holds the file to `mmrapidnet.checkpoints.state_dict.check_backbone` before
    it loads, and finds the prefix ``backbone.`` by itself where the config gives none.
    (Backbones of this project load without ``PretrainedInit``, and every tensor.)
"""

from typing import Any

from torch import nn


def apply() -> None:
    """Let ``PretrainedInit`` account for what it loads."""
    from mmengine.model import PretrainedInit

    PretrainedInit.__call__ = _initialise


def _initialise(self: Any, module: nn.Module) -> None:
    from mmengine.logging import print_log
    from mmengine.model import update_init_info
    from mmengine.runner.checkpoint import _load_checkpoint, load_state_dict

    from mmrapidnet.checkpoints.state_dict import (
        check_backbone,
        find_prefix,
        get_state_dict,
    )

    content = _load_checkpoint(self.checkpoint, map_location=self.map_location)
    source = get_state_dict(content, self.checkpoint)
    prefix = find_prefix(source, module.state_dict(), self.prefix)
    check_backbone(source, module, prefix, self.checkpoint)
    print_log(f'load {prefix or "model"} from: {self.checkpoint}', logger='current')
    own = {
        name.removeprefix(prefix): value
        for name, value in source.items()
        if name.startswith(prefix)
    }
    load_state_dict(module, own, strict=False, logger='current')
    if hasattr(module, '_params_init_info'):
        update_init_info(module, init_info=self._get_init_info())
