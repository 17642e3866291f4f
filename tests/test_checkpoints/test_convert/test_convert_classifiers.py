"""Files of classifiers become ours, tensor by tensor, from either source of them."""

import argparse
import hashlib

import numpy as np
import pytest
import torch
from helpers.published import (
    CONFIGS,
    KEY_MAPS,
    SMALL,
    assert_converted,
    convert,
    thin_state,
)
from mmengine.registry import MODELS, DefaultScope

from dev.benchmark.peers import randomize_norms
from mmrapidnet.checkpoints.convert.convert import convert_checkpoint
from mmrapidnet.checkpoints.convert.detect import choose_weights
from mmrapidnet.checkpoints.convert.key_maps import TIMM_REPVIT
from mmrapidnet.checkpoints.state_dict import check_fits, read_checkpoint
from mmrapidnet.config.load import load_config
from mmrapidnet.version import __version__

pytestmark = pytest.mark.usefixtures('thin_archs')


@pytest.fixture
def rapidnet():
    return dict(thin_state('rapidnet_ti'))


@pytest.mark.parametrize('model', SMALL)
def test_classifiers(model, tmp_path):
    source = thin_state(model)
    entry = 'model' if model.startswith('repvit') else 'state_dict'
    done, content = convert({entry: source, 'epoch': 299}, tmp_path)
    assert_converted(content, model, source)
    title = KEY_MAPS[model.partition('_')[0]].title
    assert content['meta'] == {
        'mmrapidnet_conversion': {
            'source': 'published.pth',
            'sha256': hashlib.sha256(
                (tmp_path / 'published.pth').read_bytes()
            ).hexdigest(),
            'kind': f'{title} classification checkpoint',
            'model': model,
            'weights': entry,
            'tensors': len(source),
            'dropped': ['epoch'],
            'version': __version__,
        },
    }
    assert done.model == model
    assert done.dropped == ['epoch']


def test_a_training_checkpoint_as_published(rapidnet, tmp_path):
    ema = {f'module.{name}': value + 1 for name, value in rapidnet.items()}
    content = {
        'epoch': 299,
        'arch': 'rapidnet_ti',
        'state_dict': rapidnet,
        'optimizer': {'state': {0: {'step': torch.tensor(1.0)}}, 'param_groups': []},
        'version': 2,
        'args': argparse.Namespace(lr=0.002, model='rapidnet_ti'),
        'state_dict_ema': ema,
        'metric': np.float64(76.3),
    }
    done, result = convert(content, tmp_path, model='rapidnet_ti')
    assert done.weights == 'state_dict_ema'
    assert done.dropped == [
        'epoch',
        'arch',
        'state_dict',
        'optimizer',
        'version',
        'args',
        'metric',
    ]
    assert_converted(result, 'rapidnet_ti', {k: v + 1 for k, v in rapidnet.items()})
    assert choose_weights(content, True, 'x.pth')[0] == 'state_dict_ema'
    done, result = convert(content, tmp_path, model='rapidnet_ti', ema=False)
    assert done.weights == 'state_dict'
    assert 'state_dict_ema' in done.dropped
    assert_converted(result, 'rapidnet_ti', rapidnet)


def test_bare_state_dict_and_what_lies_beside_it(rapidnet, tmp_path):
    bare = {f'module.{name}': value for name, value in rapidnet.items()}
    done, content = convert({**bare, 'epoch': 3}, tmp_path, model='rapidnet_ti')
    assert_converted(content, 'rapidnet_ti', rapidnet)
    assert (done.weights, done.dropped) == ('the file itself', ['epoch'])


def test_another_number_of_classes(rapidnet, tmp_path):
    for name in ('head', 'dist_head'):
        for leaf in ('weight', 'bias'):
            rapidnet[f'{name}.{leaf}'] = rapidnet[f'{name}.{leaf}'][:7]
    _, content = convert({'state_dict': rapidnet}, tmp_path, model='rapidnet_ti')
    state = content['state_dict']
    assert state['head.classifier.dist_head.weight'].shape == (7, 16, 1, 1)
    # A view's whole memory would have been written: 1000 rows instead of 7.
    sizes = [(tmp_path / name).stat().st_size for name in ('published.pth', 'ours.pth')]
    assert sizes[1] < sizes[0] - 200_000


def test_the_account_in_words(rapidnet, tmp_path):
    content = {'state_dict': rapidnet, 'epoch': 1, 'args': {}}
    done, _ = convert(content, tmp_path, model='rapidnet_ti')
    assert str(done) == (
        'published.pth is a RapidNet classification checkpoint; weights taken from '
        'state_dict\nmodel: rapidnet_ti\nmatched 518 of 518 tensors; dropped 2 other '
        'entries of the file: epoch, args'
    )


@pytest.mark.parametrize('model', SMALL)
def test_a_converted_file_loads(model, tmp_path):
    """As the start of a backbone, and as a whole classifier."""
    pytest.importorskip('mmpretrain')
    _, content = convert({'state_dict': thin_state(model)}, tmp_path, model=model)
    path = str(tmp_path / 'ours.pth')
    cfg = load_config(str(CONFIGS / f'{model}_in1k.py'))
    backbone = MODELS.build(
        {**cfg.model.backbone, 'init_cfg': dict(type='Pretrained', checkpoint=path)}
    )
    backbone.init_weights()

    top = cfg.model.head.classifier
    top.in_channels = backbone.out_channels[-1]
    if 'hidden_channels' in top:
        top.hidden_channels = 16
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        classifier = MODELS.build(cfg.model)
    check_fits(classifier, content, path)
    classifier.load_state_dict(content['state_dict'])
    state = backbone.state_dict()
    assert all(
        torch.equal(state[name], value)
        for name, value in classifier.backbone.state_dict().items()
    )


@pytest.fixture(scope='module')
def timm_state():
    pytest.importorskip('timm')
    from timm.models.repvit import RepVit

    torch.manual_seed(0)
    options = dict(num_classes=10, distillation=True, legacy=False)
    model = RepVit(embed_dim=(6, 12, 24, 48), depth=(2, 2, 14, 2), **options)
    return randomize_norms(model).state_dict()


@pytest.mark.parametrize('form', ['pth', 'safetensors'])
def test_timm_names(form, timm_state, tmp_path):
    if form == 'safetensors':
        save_file = pytest.importorskip('safetensors.torch').save_file
        src, dst = tmp_path / 'timm.safetensors', tmp_path / 'ours.pth'
        save_file(timm_state, src)
        done, content = convert_checkpoint(src, dst), read_checkpoint(str(dst))
    else:
        done, content = convert(timm_state, tmp_path)
    assert done.kind == "timm's RepViT classification checkpoint"
    assert (done.model, done.weights) == ('repvit_m0_9', 'the file itself')
    state = content['state_dict']
    names = TIMM_REPVIT.published_keys(state)
    assert set(names.values()) == set(timm_state)
    assert all(torch.equal(state[ours], timm_state[names[ours]]) for ours in state)
