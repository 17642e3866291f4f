"""Checkpoints of fused models: told by a record, good for evaluation alone."""

from __future__ import annotations

from typing import Any

from mmrapidnet.checkpoints.dataset_meta import get_meta
from mmrapidnet.utils.errors import UserError, sanitize

RECORD = 'mmrapidnet_fused'


def is_fused_checkpoint(content: dict[str, Any]) -> bool:
    """Whether a checkpoint says that its weights are a fused model's.

    Args:
        content: The content of the file.
    """
    return RECORD in get_meta(content)


def refuse_fused(content: dict[str, Any], checkpoint: str) -> None:
    """Raise if a checkpoint that training is to start from is fused.

    Args:
        content: The content of the file.
        checkpoint: The file's name, for the message.

    Raises:
        UserError: Naming the file it was made from.
    """
    if is_fused_checkpoint(content):
        record = content['meta'][RECORD]
        source = sanitize(record.get('source') if isinstance(record, dict) else record)
        raise UserError(
            f'{checkpoint} is fused, for evaluation only: start from the checkpoint '
            f'it was made from, {source}'
        )
