"""Labels of a trained model and of its data follow the same names."""

from __future__ import annotations

from typing import Any

from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from mmrapidnet.checkpoints.state_dict import shorten
from mmrapidnet.datasets.check.heads import heads_of
from mmrapidnet.datasets.check.model_classes import find_moved
from mmrapidnet.utils.errors import UserError, sanitize


@HOOKS.register_module()
class ClassOrderHook(Hook):
    """Stops a run on data that number the classes otherwise than the model learnt them.

    Args:
        labels: What the file of the weights tells of its classes, as
            ``dataset_meta``; of one that tells nothing, nothing is compared.
        file: The file, for the message.
    """

    def __init__(self, labels: dict[str, Any], file: str) -> None:
        self.names = labels.get('classes') or ()
        self.file = file

    def before_train(self, runner: Runner) -> None:
        """Compare with the data set of training."""
        self._compare(runner, runner.train_dataloader.dataset)

    def before_test(self, runner: Runner) -> None:
        """Compare with the data set of testing."""
        self._compare(runner, runner.test_dataloader.dataset)

    def _compare(self, runner: Runner, dataset: Any) -> None:
        classes = dataset.metainfo.get('classes') or ()
        moved = find_moved(self.names, classes)
        if moved is None or getattr(dataset, 'return_classes', False):
            return
        heads = heads_of(runner.cfg.model, runner.cfg.default_scope)
        # What is given prompts has no labels.
        if all(head.only_trains for head in heads):
            return
        name, learnt, here = moved
        raise UserError(
            f'{self.file} was trained with {sanitize(name)} as class {learnt}, which '
            f'is class {here} of the data set: give `classes` in the config as '
            f'{shorten(self.names)}'
        )
