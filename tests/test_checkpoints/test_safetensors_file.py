"""Files in the safetensors format, read and written."""

import os
import sys

import pytest
import torch
from helpers.published import assert_converted, convert, thin_state
from mmengine.registry import MODELS
from mmengine.runner.checkpoint import CheckpointLoader

from mmrapidnet.checkpoints import safetensors_file
from mmrapidnet.checkpoints.convert.convert import convert_checkpoint
from mmrapidnet.checkpoints.state_dict import read_checkpoint
from mmrapidnet.utils.errors import UserError

save_file = pytest.importorskip('safetensors.torch').save_file
pytestmark = pytest.mark.usefixtures('thin_archs')


@pytest.fixture
def rapidnet():
    return dict(thin_state('rapidnet_ti'))


def test_safetensors_hold_the_same(rapidnet, tmp_path):
    # Published files may share memory between tensors, which the format refuses.
    rapidnet['dist_head.bias'] = rapidnet['head.bias']
    content = {'state_dict': rapidnet}
    done, pth = convert(content, tmp_path, model='rapidnet_ti')
    dst = tmp_path / 'new' / 'ours.safetensors'
    assert convert_checkpoint(tmp_path / 'published.pth', dst, 'rapidnet_ti') == done
    content = read_checkpoint(str(dst))
    assert content['meta'] == pth['meta']
    assert_converted(content, 'rapidnet_ti', rapidnet)
    count = content['state_dict']['backbone.stem.0.norm.num_batches_tracked']
    assert (count.shape, count.dtype) == ((), torch.int64)
    assert os.listdir(dst.parent) == ['ours.safetensors']

    init_cfg = dict(type='Pretrained', checkpoint=str(dst))
    backbone = MODELS.build(dict(type='RapidNet', arch='ti', init_cfg=init_cfg))
    backbone.init_weights()
    bias = backbone.stem[0].conv.bias
    assert torch.equal(bias, rapidnet['stem.stem.0.bias'].float())
    loaded = CheckpointLoader.load_checkpoint(str(dst), map_location='cpu')
    assert set(loaded['state_dict']) == set(pth['state_dict'])

    with pytest.raises(UserError, match='was converted before, from published.pth'):
        convert_checkpoint(dst, tmp_path / 'again.pth')


def test_damaged_safetensors(tmp_path):
    path = tmp_path / 'cut.safetensors'
    save_file({'a': torch.zeros(1000)}, path)
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(UserError, match='cut.safetensors is truncated or not') as error:
        read_checkpoint(str(path))
    assert '\n' not in str(error.value)


def test_config_text_in_safetensors_is_inert(tmp_path):
    meta = {'config': 'import os\nos.system("echo")\n', 'cfg': 'seed = 1'}
    path = tmp_path / 'text.safetensors'
    path.write_bytes(safetensors_file.write({'a': torch.zeros(1)}, meta))
    assert read_checkpoint(str(path))['meta'] == {'config': '', 'cfg': 'seed = 1\n'}


def test_without_safetensors(rapidnet, tmp_path, monkeypatch):
    src, path = tmp_path / 'published.pth', tmp_path / 'ours.safetensors'
    torch.save(rapidnet, src)
    convert_checkpoint(src, path, 'rapidnet_ti')
    monkeypatch.setitem(sys.modules, 'safetensors.torch', None)
    message = '.safetensors files need safetensors, .* pip install safetensors'
    with pytest.raises(UserError, match=message):
        read_checkpoint(str(path))
    with pytest.raises(UserError, match=message):
        convert_checkpoint(src, tmp_path / 'more.safetensors', 'rapidnet_ti')
    assert sorted(os.listdir(tmp_path)) == ['ours.safetensors', 'published.pth']
