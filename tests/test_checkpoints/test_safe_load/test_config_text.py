"""The config text in a checkpoint is data, whoever might execute it."""

import pytest
import torch
from helpers.mini_run import resume
from mmengine.config import Config

from mmrapidnet.checkpoints.safe_load import config_text
from mmrapidnet.checkpoints.safe_load import load as safe_load
from mmrapidnet.utils.errors import UserError

HOSTILE_TEXTS = [
    'open({0!r}, "w").close()\n',
    'gpu_ids = [0]\nx = __import__("os").system("touch {0}")\n',
    'x = [open({0!r}, "w") for _ in [0]]\n',
    'x = f"{{open({0!r}, chr(119))}}"\n',
    'class A:\n    open({0!r}, "w")\n',
    'x = dict(a=1)["a"] if open({0!r}, "w") else 2\n',
    '@(lambda f: open({0!r}, "w"))\ndef f(): ...\n',
    'dict = lambda **k: open({0!r}, "w")\nx = dict(a=1)\n',
    'from os import *\nsystem("touch {0}")\n',
    "_base_ = ['{0}.py']\n",
    "custom_imports = dict(imports=['hostile_module'])\n",
    '(' * 5000,
    'x = ' + '[' * 3000,
    '\x00',
    'x = 0x' + 'f' * 10_000,
    'x = ' + '-' * 50_000 + '1',
    'x = "{{{{ fileDirname }}}}{{{{$HOME:x}}}}{{% set x = 1 %}}"\n',
    'x = {{{{$HOME:open({0!r}, "w")}}}}\n',
]


@pytest.mark.parametrize('text', HOSTILE_TEXTS)
def test_resume_executes_no_config_text(
    tmp_path, trained_run, canary, monkeypatch, text
):
    (tmp_path / 'hostile_module.py').write_text(f'open({str(canary)!r}, "w")')
    (tmp_path / 'canary.py').write_text(f'open({str(canary)!r}, "w")')
    monkeypatch.syspath_prepend(str(tmp_path))
    stored = torch.load(trained_run / 'epoch_2.pth', weights_only=False)
    code = text.replace('{0!r}', repr(str(canary))).replace('{0}', str(canary))
    stored['meta'].update(config=code, cfg=code)
    stored['message_hub']['runtime_info']['cfg'] = code
    path = tmp_path / 'hostile.pth'
    torch.save(stored, path)
    runner = resume(tmp_path, path)
    assert runner.iter == 8
    assert str(canary) not in runner.message_hub.get_info('cfg')


def test_inert_text_is_the_same_config():
    cfg = Config(
        {
            'model': {'type': 'A', 'depth': -1, 'init_cfg': None, 'on': True},
            'steps': [8, 11],
            'pipeline': [{'type': 'Resize', 'scale': (2048, 512)}, {'type': 'Pack'}],
            'keys': {'a-b': 1, 'c': {'d.e': 2.5e-4}},
            'words': {'quoted': 'a "b" \'c\' {{ fileBasename }} {{{'},
            'custom_imports': {'imports': ['no_such_module']},
        }
    )
    text = config_text.inert(cfg.pretty_text)
    expected = cfg.to_dict()
    expected.pop('custom_imports')
    assert Config.fromstring(text, file_format='.py').to_dict() == expected
    assert config_text.inert(text) == text


@pytest.mark.parametrize('meta', [None, [1], 'text', {'cfg': 3, 'config': [b'x']}])
def test_a_meta_of_any_kind_is_made_inert(tmp_path, meta):
    path = tmp_path / 'odd.pth'
    torch.save({'meta': meta, 'message_hub': meta, 'state_dict': {}}, path)
    loaded = safe_load.load(path)
    expected = {'cfg': '', 'config': ''} if isinstance(meta, dict) else meta
    assert loaded['meta'] == expected


def test_an_inferencer_asks_for_the_config(tmp_path, trained_run, canary):
    pytest.importorskip('mmdet')
    from mmdet.apis import DetInferencer

    stored = torch.load(trained_run / 'epoch_2.pth', weights_only=False)
    stored['message_hub']['runtime_info']['cfg'] = f'open({str(canary)!r}, "w")'
    path = tmp_path / 'hostile.pth'
    torch.save(stored, path)
    with pytest.raises(UserError, match='no config given: the one stored in a check'):
        DetInferencer(weights=str(path), device='cpu')
