"""The names and shapes in published files, and those of our models beside them."""

import functools
import hashlib

import pytest
from helpers.archs import one_per_family
from helpers.published import CONFIGS, published_keys, shapes_of
from mmengine.registry import DefaultScope

from mmrapidnet.checkpoints.convert import expected
from mmrapidnet.checkpoints.convert.detect import find_kind
from mmrapidnet.checkpoints.convert.expected import list_archs
from mmrapidnet.checkpoints.convert.key_maps import AUTHORS
from mmrapidnet.config.load import load_config

# Channels between the two layers of a classifier, if they are not 512.
HIDDEN = {'rapidnet_b': 768, 'mobilevig_m': 768, 'mobilevig_b': 768}
# SHA-256 of the published state dicts' names and shapes, a line each, sorted.
LISTINGS = {
    'mobilevig_ti': '722b98458861a37b012609e1ae22b82389f11a0b17fa39c7934f8e326f150c1f',
    'mobilevig_s': '7e80618a6cb1fe230a4ea0f720a05a44b6c27c68ec50fdefb94f527189ea6833',
    'mobilevig_m': '7d282f6ed9d46e0a2be76b48ebf0d5801d20c7c099c8d3a7d62ec1e9ab5ce348',
    'mobilevig_b': 'c432c37fad2700105c6465601d2666e116fa10b4960e30274f3b2b63a42ff580',
    'rapidnet_ti': '075b529fcd3373aea48998c54449202575f373ba52bc6c4ddcad67121d286f9e',
    'rapidnet_s': '85dd39adc806df200b0bc3fd3e3f9847b52e3911a7550952569ccabedc901a0e',
    'rapidnet_m': '5b20421555002027bc4a502c06f0268b559c62e009fe1495fb21b27de071bbf3',
    'rapidnet_b': '3903e8b7c73cde244c320e2bcc22d24b7dd87971cb48347ddd64cdd89f032020',
    'repvit_m0_6': '74ab747c90eec48ec6d8364263988a79c97a68139f84f1aded5679dd4a4c5fb3',
    'repvit_m0_9': '85eba2cb6ad94ad11248e91841b4a06dbcf50d24dcbbfcfb27fbc5a40028f838',
    'repvit_m1_0': '87a90390821c74005725ef6a207c176faf329422de392f50242c6db6ab48e2be',
    'repvit_m1_1': '42c1f77ad9df7cb11a9915e56e1bbf3b3a8255466e27ac2f78c7dca3751afdc3',
    'repvit_m1_5': '8c4b35645a65e7abd89ac929d937c402eaa7c6f1cee49b12cd0749b166cfe60f',
    'repvit_m2_3': '55b7149028273a13139a1422379c989f6c4afb9f94428047627d432093057ac7',
}


@functools.cache
def real_shapes(model):
    return shapes_of(model, hidden=HIDDEN.get(model, 512))


def test_every_model_is_listed():
    known = {f'{m.family}_{arch}' for m in AUTHORS for arch in list_archs(m)}
    assert known == set(LISTINGS)


@pytest.mark.parametrize('model', LISTINGS)
def test_names_and_shapes_are_the_published_ones(model):
    shapes = real_shapes(model)
    names = published_keys(model, shapes)
    listing = sorted((names[ours], list(shape)) for ours, shape in shapes.items())
    text = ''.join(f'{name} {shape}\n' for name, shape in listing)
    assert hashlib.sha256(text.encode()).hexdigest() == LISTINGS[model]


@pytest.mark.parametrize(
    ('model', 'ours', 'theirs'),
    [
        ('rapidnet_ti', 'stem.1.norm.bias', 'stem.stem.4.bias'),
        ('rapidnet_ti', 'stages.0.1.scale', 'backbone.0.1.layer_scale_1'),
        ('rapidnet_ti', 'stages.1.0.norm.weight', 'backbone.1.0.conv.1.weight'),
        (
            'rapidnet_ti',
            'stages.2.7.mixer.branch.branches.1.conv.weight',
            'backbone.2.7.mixer.graph_conv.nn_2.0.weight',
        ),
        ('rapidnet_ti', 'stages.3.4.ffn.scale', 'backbone.3.4.layer_scale_2'),
        ('mobilevig_ti', 'stages.0.1.scale', 'local_backbone.1.layer_scale_2'),
        ('mobilevig_ti', 'stages.1.0.conv.bias', 'local_backbone.2.conv.0.bias'),
        ('mobilevig_ti', 'stages.2.6.scale', 'local_backbone.11.layer_scale_2'),
        ('mobilevig_ti', 'stages.3.0.conv.bias', 'local_backbone.12.conv.0.bias'),
        (
            'mobilevig_ti',
            'stages.3.1.mixer.branch.graph_conv.conv.bias',
            'backbone.0.0.graph_conv.nn.0.bias',
        ),
        ('repvit_m0_6', 'stem.1.conv.weight', 'features.0.2.c.weight'),
        (
            'repvit_m0_6',
            'stages.1.0.pointwise.conv.weight',
            'features.3.token_mixer.2.c.weight',
        ),
        (
            'repvit_m0_6',
            'stages.3.1.se.expand.bias',
            'features.17.token_mixer.1.fc2.bias',
        ),
    ],
)
def test_some_names(model, ours, theirs):
    ours = f'backbone.{ours}'
    assert published_keys(model, real_shapes(model))[ours] == theirs


def test_names_that_the_published_network_has_not():
    with pytest.raises(KeyError):
        published_keys('rapidnet_ti', ['backbone.stages.0.0.se.reduce.weight'])


@pytest.mark.parametrize('model', one_per_family(LISTINGS))
def test_the_classifiers_of_our_configs_have_these_shapes(model):
    pytest.importorskip('mmpretrain')
    cfg = load_config(str(CONFIGS / f'{model}_in1k.py'))
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        classifier = expected._build(cfg.model)
    assert expected._shapes(classifier) == real_shapes(model)


@pytest.mark.parametrize(
    'names',
    [
        ['stem.0.conv.weight', 'stages.0.0.scale'],
        ['backbone.stem.stem.0.weight'],
        ['features.0.0.weight', 'features.1.conv.0.0.weight'],
        [],
    ],
)
def test_other_files_are_not_taken_for_published_ones(names):
    assert find_kind(names) is None
