"""What --cfg-options say of settings that a config does not have."""

import logging

import pytest
from helpers.commands import assert_one_line_error
from helpers.tool_server import fork_tool
from mmengine.config import Config
from mmengine.logging import MMLogger

from mmrapidnet.config.load import load_config
from mmrapidnet.config.override import override
from mmrapidnet.utils.errors import UserError

SEG = 'configs/semfpn_rapidnet_ti_shapes.py'


@pytest.fixture
def warnings(monkeypatch):
    """What is logged while a config is changed."""
    lines = []
    logger = MMLogger.get_current_instance()
    monkeypatch.setattr(
        logger,
        'log',
        lambda level, text: level == logging.WARNING and lines.append(text),
    )
    return lines


def make():
    return Config(
        dict(
            train_cfg=dict(type='IterBasedTrainLoop', max_iters=4),
            param_scheduler=[dict(type='LinearLR', end=2), dict(type='PolyLR', end=4)],
            model=dict(backbone=dict(arch='s', out_indices=(0, 1))),
            visualizer=None,
        )
    )


def test_settings_that_are_there_are_overridden_in_silence(warnings):
    cfg = make()
    options = {
        'train_cfg.max_iters': 2,
        'param_scheduler.1.end': 2,
        'model.backbone.out_indices': (1, 2),
        'visualizer': 7,
    }
    override(cfg, options)
    assert cfg.train_cfg == dict(type='IterBasedTrainLoop', max_iters=2)
    assert [part.end for part in cfg.param_scheduler] == [2, 2]
    assert cfg.model.backbone.out_indices == (1, 2)
    assert cfg.visualizer == 7
    # Nor is it a word worth that a config leaves to mmengine what it may.
    override(cfg, {'randomness.seed': 3, 'load_from': 'a.pth', 'work_dir': 'there'})
    override(cfg, {'train_cfg._delete_': True, 'train_cfg.max_iters': 1})
    assert cfg.train_cfg == dict(max_iters=1)
    name = 'model.backbone.arch'
    override(cfg, {f'{name}._delete_': True, f'{name}.blocks': (1, 2)})
    assert cfg.model.backbone.arch == dict(blocks=(1, 2))
    assert warnings == []


@pytest.mark.parametrize(
    ('name', 'warning'),
    [
        (
            'trian_cfg.max_iters',
            'the config has no trian_cfg, it is added; did you mean train_cfg?',
        ),
        (
            'train_cfg.max_iter',
            'the config has no train_cfg.max_iter, it is added; did you mean '
            'train_cfg.max_iters?',
        ),
        (
            'randomnes.seed',
            'the config has no randomnes, it is added; did you mean randomness?',
        ),
        (
            'param_scheduler.1.ends',
            'the config has no param_scheduler.1.ends, it is added; did you mean '
            'param_scheduler.1.end?',
        ),
        (
            'model.backbone.with_cp',
            'the config has no model.backbone.with_cp, it is added',
        ),
    ],
)
def test_new_settings_are_added_and_said(name, warning, warnings):
    cfg = make()
    override(cfg, {name: 7})
    assert warnings == [f'--cfg-options {name}: {warning}']
    *path, last = name.split('.')
    node = cfg
    for part in path:
        node = node[int(part) if part.isdigit() else part]
    assert node[last] == 7


def test_one_number_of_a_list():
    cfg = Config(dict(ratios=[0.5, 1.0]))
    with pytest.raises(UserError, match='^--cfg-options ratios.0: .*give lists as a w'):
        override(cfg, {'ratios.0': 2.0})


@pytest.mark.parametrize(
    ('name', 'fault'),
    [
        ('param_scheduler.2.end', 'param_scheduler is a list of 2, counted from 0'),
        ('param_scheduler.end', 'param_scheduler is a list of 2, counted from 0'),
        (
            'model.backbone.arch.depth',
            "model.backbone.arch is 's' and not a dict: give",
        ),
        ('model.backbone.out_indices.0', r'model.backbone.out_indices is \(0, 1\) and'),
        ('visualizer.type', 'visualizer is None and not a dict: give it as a whole'),
    ],
)
def test_settings_below_what_has_none(name, fault):
    with pytest.raises(UserError, match=f'^--cfg-options {name}=7: {fault}'):
        override(make(), {name: 7})


def test_every_tool_says_so(warnings):
    load_config(SEG, {'trian_cfg.max_iters': 2})
    assert len(warnings) == 1
    done = fork_tool('train.py', SEG, '--cfg-options', 'train_cfg')
    assert done.returncode == 2
    assert 'Traceback' not in done.stderr
    assert '--cfg-options train_cfg: give key=value' in done.stderr
    done = fork_tool('train.py', SEG, '--cfg-options', 'param_scheduler.9.end=2')
    assert_one_line_error(done, 'param_scheduler is a list of 2')
    done = fork_tool('check_dataset.py', SEG, '--cfg-options', 'trian_cfg.max_iters=2')
    assert 'did you mean train_cfg?' in done.stdout + done.stderr
