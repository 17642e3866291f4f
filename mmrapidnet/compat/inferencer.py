"""Keeps inferencers from executing the config stored in a checkpoint.

Reason:
    An mmengine inferencer that is given weights but no config executes the
    config text found in the weights' file, whoever wrote it.

Condition:
    The inferencer is given no config.

What it does:
    Asks for the config, in one line.
"""

import functools
from typing import Any

from mmrapidnet.utils.errors import UserError


def apply() -> None:
    """Let ``BaseInferencer`` insist on a config."""
    from mmengine.infer import BaseInferencer

    stock = BaseInferencer._init_model
    if hasattr(stock, '__wrapped__'):
        return

    @functools.wraps(stock)
    def init_model(self: Any, cfg: Any, weights: Any, device: str = 'cpu') -> Any:
        if not cfg:
            raise UserError(
                'no config given: the one stored in a checkpoint is not executed; '
                'give the config file as well'
            )
        return stock(self, cfg, weights, device)

    BaseInferencer._init_model = init_model
