"""Checkpoints that are whole or absent, whatever happens to the run.

Importing this module registers the hook; in a config::

    custom_imports = dict(imports=['mmrapidnet', 'mmrapidnet.engine.hooks.checkpoint'])
    default_hooks = dict(checkpoint=dict(type='DurableCheckpointHook', interval=1))
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmengine.dist import is_main_process
from mmengine.fileio import LocalBackend, register_backend
from mmengine.hooks import CheckpointHook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from mmrapidnet.checkpoints.latest import POINTER
from mmrapidnet.utils.atomic import remove_leftovers, write_atomic
from mmrapidnet.utils.errors import UserError

BACKEND = 'mmrapidnet_whole_files'


@register_backend(BACKEND)
class WholeFilesBackend(LocalBackend):
    """Local files that are whole or absent, and removed only when told twice."""

    def __init__(self) -> None:
        super().__init__()
        self.outdated: list[Path] = []

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Write a file, see `mmrapidnet.utils.atomic.write_atomic`."""
        write_atomic(Path(filepath), obj)

    def remove(self, filepath: str | Path) -> None:
        """Note a file as one that `remove_outdated` is to remove."""
        self.outdated.append(Path(filepath))

    def remove_outdated(self, folder: Path) -> None:
        """Remove what was noted, if it lies in a folder.

        Args:
            folder: The run's.  The names come from the checkpoint that was resumed:
                it shall not have other files removed.
        """
        for path in self.outdated:
            if path.parent.resolve() == folder.resolve():
                path.unlink(missing_ok=True)
        self.outdated.clear()


@HOOKS.register_module()
class DurableCheckpointHook(CheckpointHook):
    """mmengine's hook for checkpoints, for runs that may be killed at any moment.

    What differs from mmengine's:

    - A file has its name only once it is whole and on the disk, the pointer
      ``last_checkpoint`` included.
    - Old checkpoints, the best one included, are removed only after the new one is
      whole; mmengine removes them first.

    Args:
        kwargs: As for mmengine's ``CheckpointHook``, for a folder on this machine.

    Raises:
        UserError: If ``save_best`` names a metric that a validation does not give.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs, backend_args=dict(backend=BACKEND))

    def before_train(self, runner: Runner) -> None:
        """Tidy up after a run that was killed."""
        super().before_train(runner)
        if is_main_process():
            for folder in {Path(self.out_dir), Path(runner.work_dir)}:
                remove_leftovers(folder)
            self._remove_outdated()

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict) -> None:
        # If this follows the best checkpoint, that one is whole by now.
        self._remove_outdated()
        hub = runner.message_hub
        if self.max_keep_ckpts > 0:
            kept = [*(other for other in self.keep_ckpt_ids if other != step), step]
            # Too many by one: a run that is killed before it has removed the first
            # removes it when it goes on.
            hub.update_info('keep_ckpt_ids', kept)
            self.keep_ckpt_ids = kept[-self.max_keep_ckpts :]
            for other in kept[: -self.max_keep_ckpts]:
                name = self.filename_tmpl.format(other)
                self.file_backend.remove(Path(self.out_dir) / name)
        name = self.filename_tmpl.format(step)
        self.last_ckpt = self.file_backend.join_path(self.out_dir, name)
        hub.update_info('last_ckpt', self.last_ckpt)
        runner.save_checkpoint(
            self.out_dir,
            name,
            save_optimizer=self.save_optimizer,
            save_param_scheduler=self.save_param_scheduler,
            meta=meta,
            by_epoch=self.by_epoch,
            backend_args=self.backend_args,
            **self.args,
        )
        if is_main_process():
            write_atomic(Path(runner.work_dir) / POINTER, self.last_ckpt.encode())
            self._remove_outdated()

    def _save_best_checkpoint(self, runner: Runner, metrics: dict) -> None:
        for name in self.key_indicators if self.save_best else ():
            if name != 'auto' and name not in metrics:
                raise UserError(
                    f'default_hooks.checkpoint.save_best={name}: the validation '
                    f'measures {", ".join(metrics)}: choose one of them'
                )
        super()._save_best_checkpoint(runner, metrics)
        self._remove_outdated()

    def _remove_outdated(self) -> None:
        if is_main_process():
            self.file_backend.remove_outdated(Path(self.out_dir))
