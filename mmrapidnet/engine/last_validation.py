"""What the last validation of a run measured, also if the run was resumed since."""

from __future__ import annotations

from typing import Any

from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from mmrapidnet.engine.report import to_json

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
        """Note the metrics.

        Args:
            runner: The runner.
            metrics: Name to value.
        """
        runner.message_hub.update_info(_KEY, to_json(metrics or {}))


def read_last_validation(runner: Runner) -> dict[str, Any]:
    """Give the metrics of the last validation alone.

    Args:
        runner: The runner, with a `LastValidationHook`.

    Returns:
        Name to value; empty if there was no validation.
    """
    return runner.message_hub.runtime_info.get(_KEY, {})
