"""Configs that build on ours from elsewhere, as ``mmrapidnet::NAME``."""

import os
import sys
from pathlib import Path

import pytest
from helpers.commands import REPO, run_command
from mmengine.config import Config, config

from mmrapidnet.compat.config_packages import find_config
from mmrapidnet.config.load import load_config
from mmrapidnet.utils.errors import UserError

NAME = 'maskrcnn_rapidnet_s_coco.py'
# For the libraries' own scripts, which know nothing of us before they read a config.
STOCK = (
    "_base_ = __import__('mmrapidnet.compat.patch_all') and 'mmrapidnet::"
    + NAME
    + "'\n"
)
PRINT = """
from mmengine.config import Config
cfg = Config.fromfile('own.py')
print(cfg.model.backbone.type, cfg.model.backbone.arch, cfg.default_scope)
"""


def write(folder, text):
    path = folder / 'own.py'
    path.write_text(text)
    return path


def test_a_config_from_elsewhere_builds_on_ours(tmp_path):
    text = f"_base_ = 'mmrapidnet::{NAME}'\nmodel = dict(backbone=dict(arch='ti'))\n"
    own = Config.fromfile(write(tmp_path, text)).to_dict()
    ours = Config.fromfile(REPO / 'configs' / NAME).to_dict()
    assert own['model']['backbone'].pop('arch') == 'ti'
    assert ours['model']['backbone'].pop('arch') == 's'
    assert own == ours


def test_parts_of_ours_among_others(tmp_path):
    text = (
        "_base_ = ['mmrapidnet::_base_/models/maskrcnn_rapidnet_s.py',\n"
        "          'mmdet::_base_/default_runtime.py', 'rest.py']\n"
        'neck = _base_.model.neck\n'
    )
    (tmp_path / 'rest.py').write_text("work_dir = 'there'\n")
    cfg = load_config(str(write(tmp_path, text)))
    assert (cfg.model.backbone.type, cfg.work_dir) == ('RapidNet', 'there')
    assert cfg.default_scope == 'mmdet'
    # Ours have no scope of their own: their models are those of every library.
    assert '_scope_' not in cfg.neck


def test_a_name_that_we_do_not_have(tmp_path):
    path = write(tmp_path, "_base_ = 'mmrapidnet::maskrcnn_rapidnet_s_cocoo.py'\n")
    message = (
        'own.py builds on a missing one: mmrapidnet has no config '
        rf'maskrcnn_rapidnet_s_cocoo.py; did you mean {NAME}'
    )
    with pytest.raises(UserError, match=message):
        load_config(str(path))
    with pytest.raises(FileNotFoundError, match='mmrapidnet has no config xyz.py$'):
        find_config('xyz.py')


@pytest.mark.parametrize(
    'name',
    [
        'mmdet::_base_/default_runtime.py',
        'mmseg::_base_/datasets/ade20k.py',
        'mmpretrain::resnet/resnet18_8xb32_in1k.py',
    ],
)
def test_a_config_of_a_library_is_found_without_its_metafiles(name, monkeypatch):
    stock, scope = Config._get_cfg_path.__wrapped__(name, 'own.py')
    monkeypatch.setattr('mmengine.config.utils.load', None)
    path, same = Config._get_cfg_path(name, 'own.py')
    assert os.path.samefile(path, stock) and same == scope


def test_a_config_that_a_library_does_not_have(tmp_path):
    path = write(tmp_path, "_base_ = 'mmdet::_base_/default_runtimes.py'\n")
    with pytest.raises(UserError, match='own.py builds on a missing one: .*times.py'):
        load_config(str(path))


def test_stock_scripts_find_them_in_a_checkout(tmp_path):
    """It is on the path, and nothing is installed or imported before."""
    write(tmp_path, STOCK)
    done = run_command(sys.executable, '-c', PRINT, cwd=tmp_path)
    assert done.stdout.strip() == 'RapidNet s mmdet', done.stderr


def test_configs_of_the_libraries_are_found_without_their_metafiles(monkeypatch):
    names = [
        'mmdet::_base_/default_runtime.py',
        'mmseg::_base_/schedules/schedule_20k.py',
    ]
    find = Config._get_cfg_path
    expected = [find.__wrapped__(name, '') for name in names]
    # What reads the metafiles, for what the package does not have.
    monkeypatch.setattr(config, '_get_external_cfg_path', None)
    for (path, scope), name in zip(expected, names):
        found, its_scope = find(name, '')
        assert Path(found).samefile(path)
        assert its_scope == scope == name.partition('::')[0]
    with pytest.raises(TypeError, match='not callable'):
        find('mmdet::no/such.py', '')
