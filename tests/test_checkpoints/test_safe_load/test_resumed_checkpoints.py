"""Runs resumed from checkpoints that are read as data."""

import collections

import numpy as np
import pytest
import torch
from helpers import mini_run
from helpers.accepted_files import globals_in
from helpers.mini_run import resume

from mmrapidnet.checkpoints.safe_load import load as safe_load
from mmrapidnet.utils.errors import UserError


def test_resume_continues_where_the_run_ended(tmp_path):
    whole = mini_run.build_runner(tmp_path / 'whole', 4)
    whole.train()
    resumed = resume(tmp_path / 'resumed', tmp_path / 'whole/epoch_2.pth', 4)
    assert (resumed.epoch, resumed.iter) == (4, 16)
    losses = [
        runner.message_hub.get_scalar('train/loss').data[0]
        for runner in (resumed, whole)
    ]
    assert len(losses[0]) == 16
    assert np.array_equal(*losses)
    for ours, theirs in zip(
        resumed.model.parameters(), whole.model.parameters(), strict=True
    ):
        assert torch.equal(ours, theirs)
    # What the resumed run writes is plain: stock tools load it without us.
    names = globals_in(tmp_path / 'resumed/epoch_4.pth')
    assert 'mmengine.logging.history_buffer HistoryBuffer' in names
    assert not [name for name in names if name.startswith('mmrapidnet')]


def test_a_dict_whose_get_is_forged_is_refused(tmp_path, trained_run):
    stored = torch.load(trained_run / 'epoch_2.pth', weights_only=False)
    stored['meta']['config'] = 'raise SystemExit\n'
    stored = collections.OrderedDict(stored)
    stored.get = collections.Counter
    path = tmp_path / 'forged.pth'
    torch.save(stored, path)
    with pytest.raises(UserError, match=r'forged.pth holds OrderedDict.get, which is'):
        safe_load.load(path)


def test_the_text_that_resume_reads_still_counts(tmp_path, trained_run):
    stored = torch.load(trained_run / 'epoch_2.pth', weights_only=False)
    stored['meta']['config'] = 'gpu_ids = [0, 1, 2]\n'
    path = tmp_path / 'three.pth'
    torch.save(stored, path)
    with pytest.raises(UserError, match='three.pth: RuntimeError: Number of GPUs used'):
        resume(tmp_path, path)


STATES = {
    'epoch': lambda c: c['meta'].update(epoch='two'),
    'iter': lambda c: c['meta'].update(iter=None),
    'seed': lambda c: c['meta'].update(seed='x'),
    'meta': lambda c: c.update(meta=[1]),
    'no hub': lambda c: c.pop('message_hub'),
    'hub': lambda c: c.update(message_hub={'log_scalars': 3}),
    'hub names': lambda c: c['message_hub'].update(runtime_info=[1]),
    'weights': lambda c: c.update(state_dict=[1]),
    'names': lambda c: c['state_dict'].update({3: torch.ones(1)}),
    'average': lambda c: c.update(ema_state_dict=[1]),
    'optimizer': lambda c: c.update(optimizer=[1]),
    'groups': lambda c: c['optimizer'].update(param_groups=[]),
    'rate': lambda c: c['optimizer']['param_groups'][0].update(lr='x'),
    'betas': lambda c: c['optimizer']['param_groups'][0].update(betas=('x', 'y')),
    'moments': lambda c: c['optimizer']['state'][0].update(exp_avg=torch.ones(77)),
    'schedulers': lambda c: c.update(param_schedulers=[1]),
    'schedule': lambda c: c['param_schedulers'][0].update(last_step='x'),
    'method': lambda c: c['param_schedulers'][0].update(step=3),
    'milestones': lambda c: c['param_schedulers'][1].update(milestones=['x']),
    'rates': lambda c: c['param_schedulers'][2].update(base_values=['x']),
}


@pytest.mark.parametrize('state', STATES)
def test_a_state_that_cannot_be_resumed_is_told(tmp_path, trained_run, state):
    stored = torch.load(trained_run / 'epoch_2.pth', weights_only=False)
    STATES[state](stored)
    path = tmp_path / 'odd.pth'
    torch.save(stored, path)
    with pytest.raises(
        UserError, match='a run cannot start from .*odd.pth: '
    ) as caught:
        resume(tmp_path, path)
    assert str(caught.value).isprintable()
