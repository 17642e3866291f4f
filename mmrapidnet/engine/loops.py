"""Training in which every iteration depends on its number, not on what ran before.

All that is random in an iteration, in the main process and in the workers that prepare
its images, is seeded from the run's seed, the rank and the number of the iteration.  So
no state of a random generator has to be saved: a run that is killed and resumed draws
what the undisturbed one draws, whatever the number of workers, and whether or not a
validation or the start of a process came in between.

Importing this module registers the loops; in a config::

    custom_imports = dict(imports=['mmrapidnet', 'mmrapidnet.engine.loops'])
    train_cfg = dict(type='RepeatableIterLoop', max_iters=1000)
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from mmengine.dist import get_rank
from mmengine.registry import LOOPS
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop, Runner
from torch.utils.data import DataLoader, Dataset, Sampler

# What a run notes in its message hub: the last iteration or epoch it validated at.
VALIDATED = 'validated_at'
# And a run by epochs, so that one which is resumed knows where in its epoch it is.
EPOCH_LENGTH = 'iterations_of_an_epoch'


class Draw(NamedTuple):
    """A sample to be prepared: which one, for which iteration, at which place in it."""

    index: int
    iteration: int
    place: int


def seed_generators(*numbers: int) -> None:
    """Seed Python's, NumPy's and PyTorch's global random generators.

    Args:
        numbers: Whole numbers from 0 on; other numbers give independent sequences.

    Examples:
        >>> seed_generators(0, 7)
        >>> first = random.random()
        >>> seed_generators(0, 7)
        >>> random.random() == first
        True
    """
    words = np.random.SeedSequence(numbers).generate_state(4)
    random.seed(words.tobytes())
    np.random.seed(words)
    torch.manual_seed(int(words[:2].view(np.uint64)[0]))


class SeededDataset(Dataset):
    """A data set whose augmentation depends on what a sample is drawn for.

    In all else it is the data set within.

    Args:
        dataset: The data set; what is random in it uses the global generators.
        seed: The run's seed.
        rank: The rank of the process.
    """

    def __init__(self, dataset: Dataset, seed: int, rank: int) -> None:
        vars(self).update(dataset=dataset, seed=seed, rank=rank)

    def __getitem__(self, draw: Draw) -> Any:
        """Prepare a sample, with further samples that it may need."""
        seed_generators(self.seed, self.rank, draw.iteration, draw.place + 1)
        return self.dataset[draw.index]

    def __len__(self) -> int:
        return len(self.dataset)

    def __getattr__(self, name: str) -> Any:
        # Not while it is unpickled and has no data set yet.
        if name.startswith('__') or name in ('dataset', 'seed', 'rank'):
            raise AttributeError(name)
        return getattr(self.dataset, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self.dataset, name, value)


class Batches(Sampler):
    """The batches of an epoch as draws, from any iteration on.

    Those before it are drawn but not handed out, so nothing of them is decoded.

    Args:
        batch_sampler: Gives lists of indices.
    """

    def __init__(self, batch_sampler: Sampler) -> None:
        self.batch_sampler = batch_sampler
        self.epoch_start = 0
        self.start = 0

    @property
    def sampler(self) -> Sampler:
        """The sampler of single indices, whose epoch mmengine sets."""
        return self.batch_sampler.sampler

    def start_at(self, iteration: int, epoch_start: int = 0) -> None:
        """Set where to begin.

        Args:
            iteration: The first iteration to hand out a batch for.
            epoch_start: The iteration that the first batch of the sampler is for.
                Defaults to 0.
        """
        self.start, self.epoch_start = iteration, epoch_start

    def __iter__(self) -> Iterator[list[Draw]]:
        for iteration, batch in enumerate(self._lists(), self.epoch_start):
            if iteration >= self.start:
                yield [Draw(index, iteration, i) for i, index in enumerate(batch)]

    def __len__(self) -> int:
        return len(self.batch_sampler)

    def _lists(self) -> Iterator[list[int]]:
        yield from self.batch_sampler


class EndlessBatches(Batches):
    """The batches of one epoch after another."""

    def _lists(self) -> Iterator[list[int]]:
        epoch = 0
        while True:
            if hasattr(self.sampler, 'set_epoch'):
                self.sampler.set_epoch(epoch)
            yield from self.batch_sampler
            epoch += 1


class RepeatableLoader(DataLoader):
    """A loader that prepares the same samples as another, each with seeds of its own.

    Args:
        loader: The other one.
        batches: `Batches` or `EndlessBatches`.
        seed: The run's seed.
    """

    def __init__(self, loader: DataLoader, batches: type[Batches], seed: int) -> None:
        super().__init__(
            SeededDataset(loader.dataset, seed, get_rank()),
            batch_sampler=batches(loader.batch_sampler),
            num_workers=loader.num_workers,
            collate_fn=loader.collate_fn,
            pin_memory=loader.pin_memory,
            timeout=loader.timeout,
            worker_init_fn=loader.worker_init_fn,
            multiprocessing_context=loader.multiprocessing_context,
            generator=loader.generator,
            prefetch_factor=loader.prefetch_factor,
            persistent_workers=loader.persistent_workers,
            pin_memory_device=loader.pin_memory_device,
        )

    def __iter__(self) -> Iterator[Any]:
        # A generator: mmengine's loop asks for an iterator before it is known where
        # the run begins, and workers would begin to prepare samples at once.
        yield from super().__iter__()


class _Repeatable:
    """What the two loops share."""

    batches: type[Batches]

    def __init__(
        self, runner: Runner, dataloader: DataLoader | dict, **kwargs: Any
    ) -> None:
        seed = runner.seed
        if isinstance(dataloader, dict):
            dataloader = runner.build_dataloader(
                dataloader,
                seed=seed,
                diff_rank_seed=runner._randomness_cfg.get('diff_rank_seed', False),
            )
        self._seed = seed
        loader = RepeatableLoader(dataloader, self.batches, seed)
        super().__init__(runner, loader, **kwargs)

    def run_iter(self, *args: Any) -> None:
        """Train for one iteration, with seeds of its own."""
        seed_generators(self._seed, get_rank(), self._iter, 0)
        super().run_iter(*args)

    def _validate_if_due(self, done: int, last: int) -> None:
        """Validate unless the run has done so, which a resumed one cannot be sure of.

        The checkpoint of an iteration is written before the validation.
        """
        hub = self.runner.message_hub
        if self.runner.val_loop is None or done < max(self.val_begin, 1):
            return
        self._decide_current_val_interval()
        is_due = done % self.val_interval == 0 or done == last
        if is_due and hub.runtime_info.get(VALIDATED) != done:
            hub.update_info(VALIDATED, done)
            self.runner.val_loop.run()


@LOOPS.register_module()
class RepeatableIterLoop(_Repeatable, IterBasedTrainLoop):
    """mmengine's ``IterBasedTrainLoop``, repeatable and resumable at any iteration.

    A resumed run begins with the batch that is next; mmengine's prepares all that were
    trained on before, to throw them away.

    Args:
        runner: The runner.
        dataloader: The loader, or its config.
        kwargs: As for mmengine's loop.
    """

    batches = EndlessBatches

    def run(self) -> torch.nn.Module:
        """Train."""
        self.runner.call_hook('before_train')
        self.runner.call_hook('before_train_epoch')
        self._validate_if_due(self._iter, self._max_iters)
        self.dataloader.batch_sampler.start_at(self._iter)
        batches = iter(self.dataloader)
        while self._iter < self._max_iters and not self.stop_training:
            self.runner.model.train()
            self.run_iter(next(batches))
            self._validate_if_due(self._iter, self._max_iters)
        self.runner.call_hook('after_train_epoch')
        self.runner.call_hook('after_train')
        return self.runner.model


@LOOPS.register_module()
class RepeatableEpochLoop(_Repeatable, EpochBasedTrainLoop):
    """mmengine's ``EpochBasedTrainLoop``, repeatable and resumable.

    A checkpoint from within an epoch is resumed there.

    Args:
        runner: The runner.
        dataloader: The loader, or its config.
        kwargs: As for mmengine's loop.
    """

    batches = Batches

    def run(self) -> torch.nn.Module:
        """Train."""
        self.runner.message_hub.update_info(EPOCH_LENGTH, len(self.dataloader))
        self.runner.call_hook('before_train')
        self._validate_if_due(self._epoch, self._max_epochs)
        while self._epoch < self._max_epochs and not self.stop_training:
            self.run_epoch()
            self._validate_if_due(self._epoch, self._max_epochs)
        self.runner.call_hook('after_train')
        return self.runner.model

    def run_epoch(self) -> None:
        """Train for an epoch, or for what is left of it."""
        epoch_start = self._epoch * len(self.dataloader)
        self.dataloader.batch_sampler.start_at(self._iter, epoch_start)
        super().run_epoch()

    def run_iter(self, idx: int, data_batch: Any) -> None:
        """Train for one iteration."""
        # Not `idx`, which counts what this process has trained on: hooks and logs count
        # from the start of the epoch, which may have been in a process before.
        super().run_iter(self._iter - self._epoch * len(self.dataloader), data_batch)
