"""Configs in Python style, and types written in any other way."""

import pytest
from helpers import tiny_models
from helpers.python_style import write_in_python_style
from mmengine.config import Config

from mmrapidnet.apis import options
from mmrapidnet.config.load import load_config
from mmrapidnet.config.type_names import name_types
from mmrapidnet.engine.resume import make_resumable


@pytest.mark.parametrize('kind', ['detector', 'segmenter', 'classifier'])
def test_python_style_is_another_way_to_write_the_same(kind, tmp_path):
    plain = load_config(str(tiny_models.write_config(kind, tmp_path)))
    path, imports = write_in_python_style(plain, tmp_path)
    # Loops, hooks, data sets, models, losses and optimizers among them.
    assert len(imports) > 30
    cfg = load_config(str(path))
    expected, found = plain.to_dict(), cfg.to_dict()
    for content in (expected, found):
        for key in ('custom_imports', 'work_dir'):
            content.pop(key)
    assert found == expected
    assert 'mmrapidnet.models.backbones.rapidnet' in cfg.custom_imports.imports
    # What a run writes into its work dir is a config again.
    dumped = tmp_path / 'dumped.py'
    Config.fromfile(path).dump(dumped)
    again = load_config(str(dumped)).to_dict()
    assert again['model'] == expected['model']
    assert again['train_cfg'] == expected['train_cfg']
    assert again['default_hooks'] == expected['default_hooks']


def test_scopes_before_names():
    """Taken away where they say nothing, and only there."""
    cfg = Config(
        dict(
            default_scope='mmdet',
            train_cfg=dict(type='mmengine.IterBasedTrainLoop', max_iters=3),
            default_hooks=dict(checkpoint=dict(type='mmengine.CheckpointHook')),
            optim_wrapper=dict(
                type='mmengine.optim.OptimWrapper',
                optimizer=dict(type='torch.optim.AdamW', lr=1e-3),
            ),
            model=dict(
                type='mmdet.MaskRCNN', backbone=dict(type='mmpretrain.ConvNeXt')
            ),
            dataset=[dict(type='mmengine.ConcatDataset'), dict(type='mmcv.Resize')],
            unknown=dict(type='no.such.thing'),
        )
    )
    assert name_types(cfg) == set()
    assert cfg.model.type == 'MaskRCNN'
    assert cfg.model.backbone.type == 'mmpretrain.ConvNeXt'
    # mmdet has a data set and a transform of these names.
    assert [part.type for part in cfg.dataset] == [
        'mmengine.ConcatDataset',
        'mmcv.Resize',
    ]
    assert cfg.unknown.type == 'no.such.thing'
    options.enable_amp(cfg)
    options.fuse_optimizer(cfg)
    make_resumable(cfg)
    assert cfg.optim_wrapper.type == 'AmpOptimWrapper'
    assert cfg.optim_wrapper.optimizer.type == 'AdamW'
    assert cfg.train_cfg.type == 'RepeatableIterLoop'
    assert cfg.default_hooks.checkpoint.type == 'DurableCheckpointHook'


class Unregistered:
    """A class that no registry knows."""


def test_classes_that_are_not_registered():
    cfg = Config(dict(default_scope='mmdet', part=dict(type=Unregistered, values=[1])))
    assert name_types(cfg) == {__name__}
    assert cfg.part == dict(type=f'{__name__}.Unregistered', values=[1])
