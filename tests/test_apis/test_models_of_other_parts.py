"""Models without a backbone, and heads that are None, are no mistake by themselves."""

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
