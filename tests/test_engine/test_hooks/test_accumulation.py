"""A step in parts, and how many parts a recipe takes."""

from copy import deepcopy

import pytest
import torch
from helpers.commands import REPO
from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.registry import OPTIM_WRAPPERS
from torch import nn

from mmrapidnet.apis import options
from mmrapidnet.apis.train import train
from mmrapidnet.config.load import load_config
from mmrapidnet.engine.hooks.accumulation import GradientAccumulationHook
from mmrapidnet.utils.errors import UserError


@pytest.fixture(scope='module')
def recipe():
    """A segmenter's config, to be copied: four images at a time of 32 per step."""
    return load_config(str(REPO / 'configs' / 'semfpn_rapidnet_ti_ade20k.py'))


class Squares(BaseModel):
    """One weight; the loss is the mean of (weight x input) squared."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(1.0))
        self.seen = []

    def forward(self, inputs, data_samples=None, mode='loss'):
        self.seen.append(len(inputs))
        values = torch.stack([self.weight * x for x in inputs])
        return {'loss': values.square().mean(), 'largest': values.max()}


class Standing:
    """What the hook needs of a runner."""

    def __init__(self):
        self.model = Squares()


def step(data, batch_size=2, kind='OptimWrapper'):
    runner = Standing()
    hook = GradientAccumulationHook(batch_size)
    hook.before_train(runner)
    optimizer = torch.optim.SGD(runner.model.parameters(), lr=0.25)
    wrapper = OPTIM_WRAPPERS.build(dict(type=kind, optimizer=optimizer))
    logged = runner.model.train_step(data, optim_wrapper=wrapper)
    hook.after_train(runner)
    assert runner.model.train_step.__func__ is BaseModel.train_step
    return runner.model, logged


INPUTS = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0])


@pytest.mark.parametrize(
    'data',
    [
        {'inputs': INPUTS, 'data_samples': list('abcde')},
        {'inputs': list(INPUTS)},
        [INPUTS, list('abcde')],
        (list(INPUTS),),
    ],
)
def test_unequal_parts_count_by_their_images(data):
    model, logged = step(data)
    assert model.seen == [2, 2, 1]
    # The mean of the squares is 11, its gradient 22.
    assert logged['loss'].item() == pytest.approx(11)
    assert model.weight.item() == pytest.approx(1 - 0.25 * 22)
    assert logged['loss'].requires_grad is False


def test_what_is_logged_is_the_mean_over_images():
    model, logged = step({'inputs': INPUTS}, batch_size=4)
    assert model.seen == [4, 1]
    assert logged['loss'].item() == pytest.approx(11)


def test_mixed_precision():
    model, _ = step({'inputs': INPUTS[:4]}, kind='AmpOptimWrapper')
    assert model.weight.item() == pytest.approx(1 - 0.25 * 15)


@pytest.mark.parametrize(
    ('launcher', 'variable', 'processes', 'parts'),
    [
        ('none', None, 1, 8),
        ('pytorch', 'WORLD_SIZE', 2, 4),
        ('slurm', 'SLURM_NTASKS', 4, 2),
        ('mpi', 'OMPI_COMM_WORLD_SIZE', 8, 1),
    ],
)
def test_the_recipes_images_a_step(
    recipe, monkeypatch, launcher, variable, processes, parts
):
    cfg = deepcopy(recipe)
    cfg.launcher = launcher
    if variable:
        monkeypatch.setenv(variable, str(processes))
    options.accumulate(cfg, 'recipe')
    assert cfg.train_dataloader.batch_size == 4 * parts
    assert cfg.train_dataloader.batch_size * processes == 32
    assert cfg.custom_hooks[-1] == dict(type='GradientAccumulationHook', batch_size=4)
    assert cfg.custom_imports['imports'][-1] == 'mmrapidnet.engine.hooks.accumulation'
    for name in ('train_cfg', 'param_scheduler', 'optim_wrapper', 'default_hooks'):
        assert cfg[name] == recipe[name]


def test_mistakes(recipe, monkeypatch):
    cfg = deepcopy(recipe)
    with pytest.raises(UserError, match='--accumulate 0: it must be a number of batch'):
        options.accumulate(cfg, 0)
    monkeypatch.setenv('WORLD_SIZE', '3')
    cfg.launcher = 'pytorch'
    with pytest.raises(
        UserError, match='32 images per step .* not a multiple of 3 proc'
    ):
        options.accumulate(cfg, 'recipe')
    cfg.pop('auto_scale_lr')
    with pytest.raises(UserError, match='without a number needs auto_scale_lr'):
        options.accumulate(cfg, 'recipe')
    with pytest.raises(UserError, match='needs train_dataloader.batch_size'):
        options.accumulate(Config(), 2)
    cfg = deepcopy(recipe)
    cfg.optim_wrapper.accumulative_counts = 4
    with pytest.raises(UserError, match='accumulative_counts=4: .* --accumulate N'):
        train(cfg)
