"""Models as configs describe them and checkpoints fill them, without a runner."""

from __future__ import annotations

from typing import Any

from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from torch import nn

from mmrapidnet.checkpoints.fused import is_fused_checkpoint
from mmrapidnet.checkpoints.state_dict import check_fits, get_state_dict
from mmrapidnet.config.libraries import require_library
from mmrapidnet.deploy.fuse import fuse
from mmrapidnet.models.sam import SegmentAnything
from mmrapidnet.utils.errors import UserError


def build_model(cfg: Config) -> nn.Module:
    """Build a config's model, with random weights.

    Args:
        cfg: The config of a run.

    Returns:
        The model in training mode.

    Raises:
        UserError: If the library is not installed.
    """
    scope = require_library(cfg)
    if 'data_preprocessor' in cfg:  # as mmengine's runner does
        cfg.model.setdefault('data_preprocessor', cfg.data_preprocessor)
    with DefaultScope.overwrite_default_scope(scope):
        return MODELS.build(cfg.model)


def load_model(cfg: Config, content: dict[str, Any], checkpoint: str) -> nn.Module:
    """Build a config's model in evaluation mode and fill it from a checkpoint.

    Args:
        cfg: The config of a run.
        content: The content of the checkpoint, of a fused model or not.
        checkpoint: Its name, for messages.

    Returns:
        The model; a fused one if the checkpoint is of such a model.

    Raises:
        UserError: If the library is not installed, or the checkpoint does not fill
            the model.
    """
    return fill_model(build_model(cfg).eval(), content, checkpoint)


def fill_model(model: nn.Module, content: dict[str, Any], checkpoint: str) -> nn.Module:
    """Fill a model from a checkpoint.

    Args:
        model: The model.
        content: The content of the checkpoint, of a fused model or not.
        checkpoint: Its name, for messages.

    Returns:
        The model; a fused one if the checkpoint is of such a model.

    Raises:
        UserError: If the checkpoint does not fill the model.
    """
    if is_fused_checkpoint(content):
        model = fuse(model)
    check_fits(model, content, checkpoint)
    state = get_state_dict(content, checkpoint)
    model.load_state_dict({name: state[name] for name in model.state_dict()})
    return model


def check_segments_anything(cfg: Config) -> None:
    """Raise unless a config is of a `SegmentAnything`.

    Args:
        cfg: The config.

    Raises:
        UserError: If it is of another model.
    """
    kind = (cfg.get('model') or {}).get('type')
    found = MODELS.get(kind) if isinstance(kind, str) else kind
    if not (isinstance(found, type) and issubclass(found, SegmentAnything)):
        raise UserError(
            f'{cfg.filename} is the config of a {kind}: give one of a SegmentAnything, '
            'such as configs/sam_repvit_m2_3.py'
        )


def load_sam(cfg: Config, content: dict[str, Any], checkpoint: str) -> SegmentAnything:
    """Build a `SegmentAnything` in evaluation mode and fill it from a checkpoint.

    Args:
        cfg: The config of one.
        content: The content of the checkpoint, of a fused model or not.
        checkpoint: Its name, for messages.

    Returns:
        The model.

    Raises:
        UserError: If the checkpoint does not fill it.
    """
    return fill_model(MODELS.build(cfg.model).eval(), content, checkpoint)
