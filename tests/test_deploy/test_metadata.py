"""What an exported file says of itself, and which config it is held to."""

import json
from copy import deepcopy

import numpy as np
import pytest
import torch
from helpers import tiny_models
from helpers.exported_files import make_mobilevig
from mmengine.config import Config

from mmrapidnet.deploy.fuse import fuse
from mmrapidnet.deploy.graphs import build_graph
from mmrapidnet.deploy.metadata import (
    check_config,
    describe,
    from_text,
    hash_model,
    to_text,
)
from mmrapidnet.utils.errors import UserError


@pytest.fixture(scope='module')
def configs(tmp_path_factory):
    folder = tmp_path_factory.mktemp('configs')
    return {
        kind: tiny_models.load(kind, folder, folder) for kind in tiny_models.CONFIGS
    }


def test_metadata(configs, tmp_path):
    cfg = configs['segmenter']
    graph = build_graph(fuse(tiny_models.build_model(deepcopy(cfg))))
    weights = tmp_path / 'weights.pth'
    meta = {'dataset_meta': {'classes': ('a', 'b'), 'palette': np.eye(2, 3)}}
    torch.save({'state_dict': {}, 'meta': meta}, weights)
    described = describe(cfg, graph, 'fp32', str(weights), (64, 96))
    assert json.loads(json.dumps(described)) == described
    versions, checkpoint = described.pop('versions'), described.pop('checkpoint')
    assert versions == {'mmrapidnet': '0.1.0', 'torch': torch.__version__}
    assert checkpoint['name'] == 'weights.pth' and len(checkpoint['sha256']) == 64
    assert described == {
        'version': 1,
        'kind': 'segmenter',
        'outputs': ['logits'],
        'input': {
            'name': 'image',
            'channels': 3,
            'channel_order': 'bgr',
            'range': [0, 255],
            'size': [64, 96],
            'batch': None,
            'multiple': 1,
        },
        'prompts': {},
        'precision': 'fp32',
        'fused': True,
        'scope': 'mmseg',
        'config': 'tiny_segmenter.py',
        'model_sha256': hash_model(cfg),
        'classes': ['a', 'b'],
        'palette': [[1, 0, 0], [0, 1, 0]],
    }
    # Without a checkpoint that says otherwise, the labels are the data set's.
    labels = describe(cfg, graph, 'fp32')
    assert labels['classes'][:2] == ['background', 'disc']
    assert labels['palette'][1] == [220, 60, 60]
    imagenet = describe(configs['classifier'], graph, 'fp32')
    assert (
        imagenet['classes'][0] == 'tench, Tinca tinca'
        and len(imagenet['classes']) == 1000
    )


def test_an_unfused_graph_says_so(configs):
    graph = build_graph(make_mobilevig(), 'backbone')
    assert describe(None, graph, 'fp32')['fused'] is False


@pytest.mark.parametrize('kind', tiny_models.CONFIGS)
def test_config_of_a_file(kind, configs):
    """The same whether the model was built from it; another one is refused."""
    cfg = deepcopy(configs[kind])
    before = hash_model(cfg)
    tiny_models.build_model(cfg)
    metadata = {'model_sha256': before, 'config': 'one.py'}
    cfg.model.backbone.init_cfg = dict(type='Pretrained', checkpoint='x.pth')
    check_config(metadata, cfg, 'x.onnx')
    other = deepcopy(cfg)
    other.model.backbone.arch.channels = (8, 16, 24, 40)
    with pytest.raises(
        UserError, match=rf'x.onnx .* one\.py, which is not .* tiny_{kind}\.py'
    ):
        check_config(metadata, other, 'x.onnx')
    thresholds = Config(dict(model=dict(test_cfg=dict(rcnn=dict(score_thr=0.1)))))
    assert hash_model(thresholds) != hash_model(Config(dict(model=dict(test_cfg=None))))


@pytest.mark.parametrize(
    ('settings', 'accepted'),
    [
        ({}, True),
        ({'mask_threshold': 0.5}, True),  # as older files have it
        ({'mask_resizing': {'head': 'RTMDetInsHead', 'strides': [8]}}, True),
        ({'mask_resizing': {'head': 'AnotherHead', 'strides': [8]}}, False),
        ({'mask_resizing': {'head': 'RTMDetInsHead', 'strides': [0.5]}}, False),
        ({'mask_resizing': {'head': 'CondInstMaskHead'}}, False),
        ({'query_stride': 4}, True),
        ({'query_stride': 0.5}, False),
        ({'divisor': 0}, False),
        ({'another': 1}, False),
    ],
)
def test_settings_of_a_file(settings, accepted):
    metadata = describe(None, build_graph(make_mobilevig(), 'backbone'), 'fp32')
    text = to_text({**metadata, 'settings': settings})
    if accepted:
        assert from_text(text, 'a.onnx')['settings'] == settings
    else:
        with pytest.raises(UserError, match='describes itself wrongly .*: settings'):
            from_text(text, 'a.onnx')
