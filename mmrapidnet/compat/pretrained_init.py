"""Pretrained weights that do not fill a backbone are an error, whosever it is.

Reason:
    ``PretrainedInit``, which ``init_cfg=dict(type='Pretrained', ...)`` means, loads
    what matches and only logs what does not.  A file of another model, or one with
    names under a prefix that the config does not give, matches nothing, and training
    starts from random weights.
    Some backbones (Swin, ViT, PVT, BEiT, MAE, PIDNet) read the file by themselves
    instead, and say no more.

Condition:
    Always.

What it does:
    Holds the file to `mmrapidnet.checkpoints.state_dict.check_backbone` before
    it loads, and finds the prefix ``backbone.`` by itself where the config gives none.
    (Backbones of this project load without ``PretrainedInit``, and every tensor.)
    While a model initialises its parts, what one with ``Pretrained`` loads by itself
    is held to the same, under the names it has converted the file's to.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import nn

from mmrapidnet.compat.patching import wrap


def apply() -> None:
    """Let ``PretrainedInit``, and backbones without it, account for what they load."""
    from mmengine.model import BaseModule, PretrainedInit

    PretrainedInit.__call__ = _initialise
    wrap(BaseModule, 'init_weights', _account_for_parts)


def _account_for_parts(stock: Callable[..., None], self: nn.Module) -> None:
    from mmengine.model import BaseModule

    with ExitStack() as stack:
        for part in self.children():
            init = getattr(part, 'init_cfg', None)
            alone = getattr(type(part), 'init_weights', None)
            if (
                isinstance(init, dict)
                and init.get('type') == 'Pretrained'
                and alone is not BaseModule.init_weights
            ):
                stack.enter_context(_account_for(part, init['checkpoint']))
        stock(self)


@contextmanager
def _account_for(part: nn.Module, checkpoint: str) -> Iterator[None]:
    """Hold whatever is loaded into a part meanwhile to what it needs."""
    from mmrapidnet.checkpoints.state_dict import check_backbone

    def check(state: dict[str, Any], prefix: str, *_: Any) -> None:
        check_backbone(state, part, prefix, checkpoint)

    # As torch and mmengine load, each by a function of its own.
    handle = part._register_load_state_dict_pre_hook(check)
    try:
        yield
    finally:
        handle.remove()


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
