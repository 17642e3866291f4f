"""Keeps inferencers from executing the config stored in a checkpoint.

Reason:
    An mmengine inferencer that is given weights but no config executes the
    config text found in the weights' file, whoever wrote it.

Condition:
    The inferencer is given no config.

What it does:
    Asks for the config, in one line.
"""

from collections.abc import Callable
from typing import Any

from mmrapidnet.compat.patching import wrap
from mmrapidnet.utils.errors import UserError


def apply() -> None:
    """Let ``BaseInferencer`` insist on a config."""
    from mmengine.infer import BaseInferencer

    wrap(BaseInferencer, '_init_model', _init_model)


def _init_model(
    stock: Callable[..., Any], self: Any, cfg: Any, *args: Any, **kwargs: Any
) -> Any:
    if not cfg:
        raise UserError(
            'no config given: the one stored in a checkpoint is not executed; '
            'give the config file as well'
        )
    return stock(self, cfg, *args, **kwargs)
