"""A run that is resumed with another recipe than it was started with."""

import copy
from types import SimpleNamespace

import pytest
import torch
from helpers import mini_run
from mmengine.hooks import Hook
from mmengine.optim import ExponentialLR, OptimWrapper, OptimWrapperDict

from mmrapidnet.checkpoints.safe_load.load import load
from mmrapidnet.engine import resume_settings
from mmrapidnet.engine.resume_settings import ResumeSettingsHook
from mmrapidnet.utils.errors import UserError

SCHEDULE = [
    dict(type='LinearLR', start_factor=0.1, by_epoch=False, end=3),
    dict(type='MultiStepLR', milestones=[2]),
    dict(type='CosineAnnealingLR', by_epoch=False, T_max=16),
]


class Rates(Hook):
    """Notes what the optimizer has at each iteration, and its number in the epoch."""

    def __init__(self):
        self.rates, self.numbers, self.group = [], [], {}

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        group = runner.optim_wrapper.optimizer.param_groups[0]
        self.rates.append(group['lr'])
        self.numbers.append(batch_idx)
        self.group = dict(group)


def build(work_dir, max_epochs=2, schedule=SCHEDULE, batch_size=2, **kwargs):
    """A run of 4 iterations per epoch, by the repeatable loop."""
    loader = dict(
        batch_size=batch_size,
        dataset=mini_run.Numbers(),
        sampler=dict(type='DefaultSampler', shuffle=False),
        collate_fn=dict(type='default_collate'),
    )
    optimizer = {'type': 'AdamW', 'lr': 0.01, **kwargs.pop('optimizer', {})}
    wrapper = dict(optimizer=optimizer, **kwargs.pop('wrapper', {}))
    checkpoint = dict(type='CheckpointHook', interval=1, **kwargs.pop('checkpoint', {}))
    settings = dict(
        train_dataloader=loader,
        train_cfg=dict(type='RepeatableEpochLoop', max_epochs=max_epochs),
        val_dataloader=None,
        val_cfg=None,
        val_evaluator=None,
        optim_wrapper=wrapper,
        param_scheduler=copy.deepcopy(schedule),
        default_hooks=dict(checkpoint=checkpoint),
        custom_hooks=[],
    )
    runner = mini_run.build_runner(work_dir, **{**settings, **kwargs})
    rates = Rates()
    runner.register_hook(rates)
    return runner, rates


def resume(checkpoint, work_dir, **kwargs):
    runner, rates = build(work_dir, load_from=str(checkpoint), resume=True, **kwargs)
    runner.register_hook(ResumeSettingsHook())
    runner.train()
    return runner, rates


@pytest.fixture(scope='module')
def first(tmp_path_factory):
    """The folder of a run of two epochs, with a checkpoint after each iteration."""
    folder = tmp_path_factory.mktemp('first')
    build(folder, checkpoint=dict(by_epoch=False))[0].train()
    return folder


@pytest.fixture
def said(monkeypatch):
    lines = []
    monkeypatch.setattr(
        resume_settings, 'print_log', lambda line, **kwargs: lines.append(line)
    )
    return lines


def test_the_same_recipe_is_taken_as_it_is(first, tmp_path, said):
    whole, rates = build(tmp_path / 'whole')
    whole.train()
    resumed, rest = resume(first / 'iter_5.pth', tmp_path / 'resumed')
    assert said == []
    assert rest.rates == rates.rates[5:]
    for name, value in resumed.model.state_dict().items():
        assert torch.equal(value, whole.model.state_dict()[name]), name


def test_iterations_within_an_epoch_go_on_counting(first, tmp_path):
    _, rates = resume(first / 'iter_5.pth', tmp_path)
    assert rates.numbers == [1, 2, 3]


def test_nothing_of_the_same_recipe_is_changed(first, tmp_path):
    """Not even what a hook has done to the rate meanwhile."""
    runner, _ = build(tmp_path)
    content = load(first / 'iter_5.pth')
    content['optimizer']['param_groups'][0]['lr'] = 0.5
    before = copy.deepcopy(content['optimizer']['param_groups'])
    schedulers = copy.deepcopy(content['param_schedulers'])
    prepare(runner)
    ResumeSettingsHook().after_load_checkpoint(runner, content)
    assert content['optimizer']['param_groups'] == before
    assert content['param_schedulers'] == schedulers


def prepare(runner):
    """What comes before a checkpoint is loaded."""
    runner._train_loop = runner.build_train_loop(runner._train_loop)
    runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
    if runner.param_schedulers is not None:
        runner.param_schedulers = runner.build_param_scheduler(runner.param_schedulers)


def test_a_longer_schedule_at_another_rate(first, tmp_path, said):
    """As if it had been followed from the start: 5 iterations are done."""
    longer = copy.deepcopy(SCHEDULE)
    longer[1]['milestones'], longer[2]['T_max'] = [3], 24
    recipe = dict(schedule=longer, max_epochs=4, optimizer=dict(lr=0.004))
    whole, rates = build(tmp_path / 'whole', **recipe)
    whole.train()
    _, rest = resume(first / 'iter_5.pth', tmp_path / 'resumed', **recipe)
    assert rest.rates == rates.rates[5:]
    assert len(rest.rates) == 11
    (line,) = said
    assert line.startswith('the config differs from the run that is resumed, and holds')
    for part in (
        'optim_wrapper.optimizer.lr 0.004 (0.01 in the checkpoint)',
        'param_scheduler[1].milestones',
        'param_scheduler[2].T_max 24 (16 in the checkpoint)',
        'param_scheduler[2].end 16 (8 in the checkpoint)',
    ):
        assert part in line
    # The next time it is the same recipe.
    said.clear()
    resume(tmp_path / 'resumed' / 'epoch_3.pth', tmp_path / 'third', **recipe)
    assert said == []


def test_what_no_schedule_changes(first, tmp_path, said):
    recipe = dict(optimizer=dict(weight_decay=0.5, betas=(0.8, 0.99), eps=1e-6))
    _, same = resume(first / 'iter_5.pth', tmp_path / 'same')
    _, rates = resume(first / 'iter_5.pth', tmp_path / 'other', **recipe)
    assert rates.rates == same.rates
    group = {name: rates.group[name] for name in recipe['optimizer']}
    assert group == recipe['optimizer']
    (line,) = said
    for part in (
        'optimizer.weight_decay 0.5 (0.01 in the checkpoint)',
        'optimizer.betas (0.8, 0.99) ((0.9, 0.999) in the checkpoint)',
        'optimizer.eps 1e-06 (1e-08 in the checkpoint)',
    ):
        assert part in line


def test_several_groups_of_parameters(tmp_path, said):
    """Each has a rate of its own; the line names the rate of the config."""
    paramwise = dict(paramwise_cfg=dict(custom_keys={'linear': dict(lr_mult=0.1)}))
    recipe = dict(schedule=SCHEDULE[:1], wrapper=paramwise)
    build(tmp_path / 'first', **recipe)[0].train()
    checkpoint = tmp_path / 'first' / 'epoch_1.pth'
    runner, _ = resume(
        checkpoint, tmp_path / 'second', **recipe, optimizer=dict(lr=0.5)
    )
    assert [g['lr'] for g in runner.optim_wrapper.optimizer.param_groups] == (
        pytest.approx([0.5, 0.5, 0.05, 0.05])
    )
    assert said[0].endswith('optim_wrapper.optimizer.lr 0.5 (0.01 in the checkpoint)')


def test_without_schedulers_now(first, tmp_path, said):
    _, rates = resume(
        first / 'iter_5.pth', tmp_path, schedule=None, optimizer=dict(lr=0.02)
    )
    assert rates.rates == [0.02] * 3
    assert 'schedulers in param_scheduler 0 (3 in the checkpoint)' in said[0]
    assert 'initial_lr' not in rates.group


def test_schedulers_that_were_not_stored(tmp_path):
    build(tmp_path / 'first', checkpoint=dict(save_param_scheduler=False))[0].train()
    whole, rates = build(tmp_path / 'whole')
    whole.train()
    _, rest = resume(tmp_path / 'first' / 'epoch_1.pth', tmp_path / 'second')
    assert rest.rates == rates.rates[4:]


def test_another_batch_size_after_an_epoch(first, tmp_path, said):
    """Iterations are counted by epochs of the new length, and so are schedules."""
    recipe = dict(batch_size=4, max_epochs=3)
    whole, rates = build(tmp_path / 'whole', **recipe)
    whole.train()
    resumed, rest = resume(first / 'iter_8.pth', tmp_path / 'second', **recipe)
    assert rest.rates == rates.rates[4:]
    assert rest.numbers == [0, 1]
    assert resumed.iter == 6
    assert 'iterations of an epoch 2 (4 in the checkpoint)' in said[0]


@pytest.mark.parametrize(
    ('recipe', 'message'),
    [
        (
            dict(optimizer=dict(type='SGD')),
            r'optim_wrapper.optimizer.type is SGD, but the checkpoint is of an '
            r'optimizer without dampening, momentum, nesterov; to start another run '
            r'from its weights, give load_from without resume',
        ),
        (dict(optimizer=dict(amsgrad=True)), r'optimizer.amsgrad cannot be switched'),
        (
            dict(wrapper=dict(paramwise_cfg=dict(bias_lr_mult=2.0))),
            r'make 4 groups of 4 trained parameters, other ones than the 1 of 4',
        ),
        (
            dict(batch_size=1),
            r'from within epoch 2, at iteration 5, but an epoch has 8 iterations now',
        ),
        (
            dict(batch_size=4),
            r'from within epoch 2, at iteration 5, but an epoch has 2 iterations now',
        ),
        (
            dict(schedule=[dict(type='ReduceOnPlateauLR', monitor='loss')]),
            r'ReduceOnPlateauLR depends on the metrics so far, so it cannot follow',
        ),
    ],
)
def test_what_cannot_change_within_a_run(first, tmp_path, recipe, message):
    with pytest.raises(UserError, match=message):
        resume(first / 'iter_5.pth', tmp_path, **recipe)


def test_a_run_by_epochs_is_none_by_iterations(tmp_path):
    build(tmp_path / 'first', max_epochs=1)[0].train()
    loop = dict(type='RepeatableIterLoop', max_iters=9)
    with pytest.raises(UserError, match=r'of a run by epochs \(it ended epoch 1\)'):
        resume(tmp_path / 'first' / 'epoch_1.pth', tmp_path / 'second', train_cfg=loop)


def two_optimizers(rate, growth):
    """What the hook looks at where a generator and a critic have one each."""
    wrappers = {}
    for name in ('generator', 'critic'):
        weight = torch.nn.Parameter(torch.zeros(2))
        optimizer = torch.optim.SGD([weight], lr=rate if name == 'critic' else 0.5)
        wrappers[name] = OptimWrapper(optimizer)
    scaler = dict(scale=8.0, growth_interval=growth)
    wrappers['critic'].loss_scaler = SimpleNamespace(state_dict=lambda: scaler)
    return SimpleNamespace(
        optim_wrapper=OptimWrapperDict(**wrappers),
        param_schedulers={
            name: [ExponentialLR(wrapper, gamma=0.5, by_epoch=False)]
            for name, wrapper in wrappers.items()
        },
        train_loop=None,
    )


def test_several_optimizers(said):
    runner, before = two_optimizers(1.0, 50), two_optimizers(2.0, 20)
    content = dict(
        meta=dict(epoch=0, iter=3),
        message_hub={},
        optimizer=before.optim_wrapper.state_dict(),
        param_schedulers={
            name: [one.state_dict() for one in own]
            for name, own in before.param_schedulers.items()
        },
    )
    scaling = dict(scale=1.0, growth_interval=20)
    content['optimizer']['critic']['loss_scaler'] = scaling
    ResumeSettingsHook().after_load_checkpoint(runner, content)
    (line,) = said
    assert line.endswith(
        'optim_wrapper.critic.loss_scale.growth_interval 50 (20 in the checkpoint); '
        'optim_wrapper.critic.optimizer.lr 1.0 (2.0 in the checkpoint)'
    )
    assert scaling == dict(scale=1.0, growth_interval=50)
    rates = {
        name: state['param_groups'][0]['lr']
        for name, state in content['optimizer'].items()
    }
    assert rates == dict(generator=0.5 * 0.5**3, critic=0.5**3)
    assert content['param_schedulers']['critic'][0]['last_step'] == 3
