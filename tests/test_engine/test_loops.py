"""Iterations that depend on their number alone."""

import pickle
import random

import numpy as np
import pytest
import torch
from mmengine.dataset import BaseDataset, DefaultSampler, InfiniteSampler
from mmengine.dataset.utils import pseudo_collate
from torch.utils.data import BatchSampler, DataLoader

from mmrapidnet.engine.loops import (
    Batches,
    Draw,
    EndlessBatches,
    RepeatableLoader,
    SeededDataset,
    seed_generators,
)


class Noisy(BaseDataset):
    """Ten samples with noise of every generator; every third draw is refused."""

    METAINFO = dict(classes=('a',))

    def __init__(self):
        super().__init__(serialize_data=False, pipeline=[self.augment], max_refetch=99)
        self.decoded = []

    def load_data_list(self):
        return [dict(number=i) for i in range(10)]

    def augment(self, data):
        self.decoded.append(data['sample_idx'])
        noise = (random.random(), np.random.rand(), float(torch.rand(())))
        return None if noise[0] < 1 / 3 else (data['sample_idx'], *noise)


def loader(batches, start=0, workers=0, sampler=InfiniteSampler, dataset=None):
    dataset = dataset or Noisy()
    stock = DataLoader(
        dataset,
        batch_sampler=BatchSampler(sampler(dataset, seed=5), 4, drop_last=False),
        num_workers=workers,
        persistent_workers=workers > 0,
        collate_fn=pseudo_collate,
    )
    repeatable = RepeatableLoader(stock, batches, seed=7)
    repeatable.batch_sampler.start_at(start)
    return repeatable


def take(source, count):
    iterator = iter(source)
    return [next(iterator) for _ in range(count)]


def draw():
    return random.random(), np.random.rand(), float(torch.rand(())), torch.randperm(9)


def test_seeds():
    values = []
    for numbers in ((0, 1, 2), (0, 1, 3), (0, 2, 2), (0, 1, 2)):
        seed_generators(*numbers)
        values.append(draw())
    assert values[0][:3] == values[3][:3]
    assert torch.equal(values[0][3], values[3][3])
    for i in range(3):
        assert len({value[i] for value in values}) == 3


@pytest.mark.parametrize('batches', [Batches, EndlessBatches])
def test_samples_depend_on_neither_workers_nor_history(batches):
    sampler = DefaultSampler if batches is Batches else InfiniteSampler
    expected = take(loader(batches, sampler=sampler), 3)
    random.seed(99)
    torch.manual_seed(99)
    assert take(loader(batches, sampler=sampler), 3) == expected
    assert take(loader(batches, workers=2, sampler=sampler), 3) == expected
    assert take(loader(batches, 2, sampler=sampler), 1) == expected[2:]


def test_skipped_batches_are_not_decoded():
    dataset = Noisy()
    assert (
        take(loader(EndlessBatches, 100, dataset=dataset), 1)
        == (take(loader(EndlessBatches), 101)[100:])
    )
    # Those of a batch, and what was refused.
    assert 4 <= len(dataset.decoded) < 40


def test_endless_batches_of_a_finite_sampler():
    """Each epoch in another order, as by mmengine's loop."""
    endless = loader(EndlessBatches, sampler=DefaultSampler).batch_sampler
    epochs = []
    for epoch in range(3):
        sampler = DefaultSampler(Noisy(), seed=5)
        sampler.set_epoch(epoch)
        epochs += list(BatchSampler(sampler, 4, drop_last=False))
    batches = take(endless, 9)
    assert [[draw.index for draw in batch] for batch in batches] == epochs
    assert [draw.iteration for batch in batches for draw in batch[:1]] == list(range(9))
    assert [draw.place for draw in batches[1]] == [0, 1, 2, 3]


def test_an_epoch_from_its_middle():
    batches = loader(Batches, sampler=DefaultSampler).batch_sampler
    whole = []
    for epoch in (0, 1):
        batches.sampler.set_epoch(epoch)
        batches.start_at(3 * epoch, 3 * epoch)
        whole += list(batches)
    assert [batch[0].iteration for batch in whole] == list(range(6))
    batches.start_at(5, 3)
    assert list(batches) == whole[5:]
    assert len(batches) == 3


def test_the_data_set_shows_through():
    dataset = Noisy()
    seeded = SeededDataset(dataset, 0, 0)
    assert seeded.metainfo == dict(classes=('a',))
    assert seeded.get_data_info(3)['number'] == 3
    assert len(seeded) == 10
    with pytest.raises(AttributeError):
        _ = seeded.no_such_attribute
    # As mmdet's hooks that change the pipeline in the middle of a run.
    seeded.max_refetch = 5
    assert dataset.max_refetch == 5
    copied = pickle.loads(pickle.dumps(seeded))
    assert copied[Draw(2, 1, 0)] == seeded[Draw(2, 1, 0)]
    assert copied[Draw(2, 1, 0)] != copied[Draw(2, 1, 1)] != copied[Draw(2, 2, 1)]


def test_ranks_differ():
    first, second = (SeededDataset(Noisy(), 0, rank) for rank in (0, 1))
    assert first[Draw(2, 1, 0)] != second[Draw(2, 1, 0)]
