"""What a config lacks, or has None for, is no mistake by itself."""

from functools import partial

import pytest
from mmengine.config import Config

from mmrapidnet.apis import options
from mmrapidnet.apis.train import _check, read_start
from mmrapidnet.utils.errors import UserError


def config(scope='mmpretrain', **model):
    run = dict(train_cfg=dict(max_epochs=1), work_dir='work_dirs/a')
    return Config(dict(default_scope=scope, model=model, **run))


@pytest.mark.parametrize('model', [{}, dict(backbone=None), dict(head=None)])
def test_a_run_may_start(model):
    cfg = config(**model)
    _check(cfg, check_data=False)
    assert read_start(cfg) is None


@pytest.mark.parametrize('model', [{}, dict(backbone=None)])
def test_pretrained_weights_need_a_backbone(model):
    with pytest.raises(
        UserError, match=r'--pretrained a.pth: the model .* no backbone'
    ):
        options.start_backbone_from(config(**model), 'a.pth')


@pytest.mark.parametrize('roi_head', [None, dict(mask_head=None)])
def test_augmentation_in_tests_of_a_model_without_masks(roi_head):
    with pytest.raises(UserError, match='--tta needs tta_model and tta_pipeline'):
        options.enable_tta(config('mmdet', roi_head=roi_head))


@pytest.mark.parametrize('settings', [{}, dict(optim_wrapper=None, auto_scale_lr=None)])
def test_options_of_a_config_without_a_recipe(settings):
    cfg = config()
    cfg.update(settings, train_dataloader=dict(batch_size=2))
    options.enable_fast_step(cfg)
    for enable, message in (
        (options.enable_amp, '--amp needs optim_wrapper.type'),
        (options.enable_auto_scale_lr, '--auto-scale-lr needs auto_scale_lr'),
        (partial(options.accumulate, parts='recipe'), '--accumulate without a number'),
    ):
        with pytest.raises(UserError, match=message):
            enable(cfg)
    cfg.pop('train_dataloader')
    _check(cfg, check_data=False)
