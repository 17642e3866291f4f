"""The statistics that processes validate with."""

from types import SimpleNamespace

import torch
from helpers.forked import fork_ranks
from torch import nn

from mmrapidnet.engine.hooks.broadcast_buffers import BroadcastBuffersHook


def test_all_processes_take_those_of_the_first(tmp_path):
    def job(rank):
        norm = nn.BatchNorm2d(2)
        norm.running_mean.fill_(rank + 1)
        norm.num_batches_tracked.fill_(rank + 5)
        norm.weight.data.fill_(rank)
        BroadcastBuffersHook().before_val_epoch(SimpleNamespace(model=norm))
        torch.save(norm.state_dict(), tmp_path / str(rank))

    for process in fork_ranks(2, job):
        process.join(60)
        assert process.exitcode == 0
    for rank in range(2):
        state = torch.load(tmp_path / str(rank))
        assert state['running_mean'].tolist() == [1, 1]
        assert state['num_batches_tracked'] == 5
        # Parameters are the same by training; they are left alone.
        assert state['weight'].tolist() == [rank, rank]


def test_one_process_keeps_its_own():
    norm = nn.BatchNorm2d(2)
    norm.running_mean.fill_(3)
    BroadcastBuffersHook().before_val_epoch(SimpleNamespace(model=norm))
    assert norm.running_mean.tolist() == [3, 3]
