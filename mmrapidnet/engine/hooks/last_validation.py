"""What the last validation of a run measured, also if the run was resumed since."""

from __future__ import annotations

from typing import Any

from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from mmrapidnet.engine.confusion import find_confusion, list_class_figures
from mmrapidnet.utils.to_json import to_json

_KEY = 'last_validation'


@HOOKS.register_module()
class LastValidationHook(Hook):
    """Notes what a validation measured, in the run's messages and so in checkpoints.

    mmengine keeps a history for each metric: where a validation lacks one, the newest
    entry is that of a validation before.
    """

    def after_val_epoch(
        self, runner: Runner, metrics: dict[str, Any] | None = None
    ) -> None:
        """Note the metrics, and the figures of each class."""
        confusion = find_confusion(runner.val_loop.evaluator)
        per_class = list_class_figures(confusion) if confusion else []
        measured = dict(metrics=metrics or {}, per_class=per_class)
        runner.message_hub.update_info(_KEY, to_json(measured))


def read_last_validation(
    runner: Runner,
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Give what the last validation measured, and no other.

    Args:
        runner: The runner, with a `LastValidationHook`.

    Returns:
        Name to value, and records of each class; empty if there was no validation.
    """
    measured = runner.message_hub.runtime_info.get(_KEY, {})
    return measured.get('metrics', {}), measured.get('per_class', [])
