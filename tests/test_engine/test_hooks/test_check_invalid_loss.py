"""A loss that is no number: where a run stops, what it says, what it leaves."""

import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from helpers import mini_run
from helpers.bad_data import load
from helpers.forked import fork_ranks
from mmengine.hooks import Hook

from mmrapidnet import compat
from mmrapidnet.apis.train import train
from mmrapidnet.engine.hooks.check_invalid_loss import CheckInvalidLossHook
from mmrapidnet.utils.errors import UserError

BAD = 6  # the iteration, of eight in two epochs


class Spoil(Hook):
    """Spoils what an iteration uses or leaves."""

    def __init__(self, what, iteration=BAD):
        self.what, self.iteration = what, iteration

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter + 1 == self.iteration and self.what == 'loss':
            data_batch['data_samples'][0] = torch.nan

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if runner.iter + 1 == self.iteration and self.what == 'weights':
            runner.model.linear.weight.data[0, 1] = torch.inf


def run(work_dir, spoil, interval=2, by_epoch=False, **options):
    compat.apply()
    checkpoint = dict(
        type='CheckpointHook', interval=interval, by_epoch=by_epoch, max_keep_ckpts=1
    )
    runner = mini_run.build_runner(
        work_dir,
        default_hooks=dict(checkpoint=checkpoint, logger=dict(type='LoggerHook')),
        **options,
    )
    # Before the other looks.
    runner.register_hook(spoil, priority='VERY_HIGH')
    runner.register_hook(CheckInvalidLossHook())
    with pytest.raises(UserError) as error:
        runner.train()
    return str(error.value), sorted(path.name for path in Path(work_dir).glob('*.pth'))


@pytest.mark.parametrize('interval', [1, 2, 3])
def test_the_iteration_and_the_last_good_checkpoint(interval, tmp_path):
    """No checkpoint of the bad iteration replaces the one that is kept."""
    message, files = run(tmp_path, Spoil('loss'), interval)
    last = (BAD - 1) // interval * interval
    assert files == [f'iter_{last}.pth']
    assert message.startswith(f'iteration {BAD}: loss is nan with the images ')
    assert message.endswith(f'the last good checkpoint is {tmp_path}/{files[0]}')
    state = torch.load(tmp_path / files[0], weights_only=False)['state_dict']
    assert all(torch.isfinite(value).all() for value in state.values())


def test_before_the_first_checkpoint(tmp_path):
    message, files = run(tmp_path, Spoil('loss', 1))
    assert files == []
    assert message.startswith('iteration 1: loss is nan')
    assert message.endswith('no checkpoint was written yet')


@pytest.mark.parametrize(('by_epoch', 'last'), [(False, 'iter_4'), (True, 'epoch_1')])
def test_weights_that_are_spoiled_when_a_checkpoint_is_due(by_epoch, last, tmp_path):
    spoil = Spoil('weights', 8 if by_epoch else BAD)
    message, files = run(tmp_path, spoil, 1 if by_epoch else 2, by_epoch)
    assert files == [f'{last}.pth']
    iteration = spoil.iteration
    assert message.startswith(
        f'iteration {iteration}: the weights linear.weight are Na'
    )


def test_gradients_that_are_spoiled(tmp_path):
    """Clipping logs their norm: the batch is named before a loss shows it."""

    class Overflow(Spoil):
        def before_train_iter(self, runner, batch_idx, data_batch=None):
            if runner.iter + 1 == self.iteration:
                runner.model.linear.weight.register_hook(lambda g: g * torch.inf)

    optimizer = dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.01))
    message, files = run(
        tmp_path,
        Overflow('gradients'),
        optim_wrapper=dict(**optimizer, clip_grad=dict(max_norm=1)),
    )
    assert files == ['iter_4.pth']
    assert re.match(
        rf'iteration {BAD}: grad_norm is (inf|nan) with the images', message
    )


def test_where_losses_are_scaled_the_norm_says_nothing(tmp_path):
    """Steps of float16 whose gradients overflow are skipped, not fatal."""
    hub = SimpleNamespace(
        log_scalars={'train/grad_norm': SimpleNamespace(current=lambda: torch.inf)}
    )
    runner = SimpleNamespace(
        message_hub=hub,
        optim_wrapper=SimpleNamespace(loss_scaler=object()),
        hooks=[],
        iter=0,
    )
    CheckInvalidLossHook().after_train_iter(runner, 0, {}, {'loss': torch.tensor(1.0)})


def test_all_processes_stop_together(tmp_path):
    """The loss of the second alone is bad; the first must not write a checkpoint."""

    def job(rank):
        hub = SimpleNamespace(log_scalars={}, get_info=lambda name: 'iter_2.pth')
        runner = SimpleNamespace(message_hub=hub, optim_wrapper=None, hooks=[], iter=2)
        batch = {'data_samples': [SimpleNamespace(img_path=f'{rank}.jpg')]}
        hook = CheckInvalidLossHook()
        hook.after_train_iter(runner, 0, batch, {'loss': 1.0})
        with pytest.raises(UserError) as error:
            hook.after_train_iter(
                runner, 0, batch, {'loss': torch.nan if rank else 1.0}
            )
        (tmp_path / str(rank)).write_text(str(error.value))

    processes = fork_ranks(2, job)
    for process in processes:
        process.join(100)
        assert process.exitcode == 0
    line = (
        'iteration 3: loss is nan with the images 1.jpg; '
        'the last good checkpoint is iter_2.pth'
    )
    assert [(tmp_path / str(rank)).read_text() for rank in range(2)] == [line] * 2


def test_training_names_the_images_of_the_batch(shapes_root, tmp_path):
    """Every run of ours has the hook; the dumped config does not need it."""
    cfg = load('segmenter', shapes_root / 'ade')
    cfg.work_dir = str(tmp_path)
    cfg.train_dataloader.update(batch_size=2, num_workers=0, persistent_workers=False)
    cfg.optim_wrapper.optimizer = dict(type='SGD', lr=0.01)
    cfg.model.decode_head.loss_decode.loss_weight = float('nan')
    with pytest.raises(UserError) as error:
        train(cfg)
    folder = shapes_root / 'ade' / 'images' / 'training'
    pattern = (
        'iteration 1: .*loss is nan.* with the images '
        rf'{folder}/(\w+).jpg, {folder}/(\w+).jpg; no checkpoint was written yet'
    )
    assert re.fullmatch(pattern, str(error.value)), error.value
    assert not list(tmp_path.glob('*.pth'))
    assert 'CheckInvalidLossHook' not in next(tmp_path.glob('*.py')).read_text()
