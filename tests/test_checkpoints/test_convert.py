"""Published files become ours, tensor by tensor, or it is an error."""

import argparse
import hashlib
import os
import sys

import numpy as np
import pytest
import torch
from helpers import golden
from helpers.commands import REPO
from mmengine.registry import MODELS, DefaultScope
from mmengine.runner.checkpoint import CheckpointLoader

from dev.benchmark.peers import randomize_norms
from mmrapidnet.checkpoints.convert import convert
from mmrapidnet.checkpoints.convert.detect import find_kind
from mmrapidnet.checkpoints.convert.expected import classifier_shapes, list_archs
from mmrapidnet.checkpoints.convert.key_maps import (
    AUTHORS,
    TIMM_REPVIT,
    published_keys,
)
from mmrapidnet.checkpoints.state_dict import check_fits, read_checkpoint
from mmrapidnet.config.load import load_config
from mmrapidnet.utils.errors import UserError
from mmrapidnet.version import __version__

CONFIGS = REPO / 'configs'
LAYOUTS = {key_map.family: key_map for key_map in AUTHORS}
HIDDEN = {'rapidnet_b': 768, 'mobilevig_m': 768, 'mobilevig_b': 768}
SMALL = ('rapidnet_ti', 'mobilevig_ti', 'repvit_m0_6')

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


def shapes_of(model, key_map=None, num_classes=1000):
    """Our names of a classifier's tensors, with their shapes."""
    family, _, arch = model.partition('_')
    key_map = key_map or LAYOUTS[family]
    lengths = {'hidden_channels': HIDDEN.get(model, 512), 'num_classes': num_classes}
    sizes = {
        name: torch.empty(lengths[argument], device='meta')
        for argument, name in key_map.classifier_sizes.items()
    }
    return classifier_shapes(key_map, arch, sizes, model)


def published_state(model):
    """The published state dict, filled by its names."""
    shapes = shapes_of(model)
    return {
        theirs: golden.parameter(theirs, tuple(shapes[ours]))
        for ours, theirs in published_keys(model, shapes).items()
    }


@pytest.fixture(scope='module')
def states():
    return {model: published_state(model) for model in SMALL}


@pytest.fixture
def rapidnet(states):
    return dict(states['rapidnet_ti'])


@pytest.fixture
def files(tmp_path):
    """Where to convert from and to."""
    return tmp_path / 'published.pth', tmp_path / 'ours.pth'


def converted(content, files, **options):
    src, dst = files
    torch.save(content, src)
    done = convert.convert_checkpoint(src, dst, configs=CONFIGS, **options)
    return done, read_checkpoint(str(dst))


def assert_holds(content, model, source, key_map=None):
    """The converted file has each of the model's tensors from its source."""
    shapes = shapes_of(model, key_map)
    names = (key_map or LAYOUTS[model.partition('_')[0]]).published_keys(shapes)
    assert set(content['state_dict']) == set(shapes)
    assert len(set(names.values())) == len(names) == len(source)
    for ours, value in content['state_dict'].items():
        assert torch.equal(value, source[names[ours]]), ours
        assert value.dtype == source[names[ours]].dtype


# ------------------------------------------------------------------- the names


def test_every_model_is_listed():
    known = {f'{lay.family}_{arch}' for lay in AUTHORS for arch in list_archs(lay)}
    assert known == set(LISTINGS)


@pytest.mark.parametrize('model', LISTINGS)
def test_names_and_shapes_are_the_published_ones(model):
    shapes = shapes_of(model)
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
    assert published_keys(model, shapes_of(model))[ours] == theirs


def test_names_that_the_published_network_has_not():
    with pytest.raises(KeyError):
        published_keys('rapidnet_ti', ['backbone.stages.0.0.se.reduce.weight'])


# ------------------------------------------------------- files of classifiers


@pytest.mark.parametrize('model', SMALL)
def test_classifiers(model, states, files):
    source = states[model]
    entry = 'model' if model.startswith('repvit') else 'state_dict'
    done, content = converted({entry: source, 'epoch': 299}, files)
    assert_holds(content, model, source)
    title = {'rapidnet': 'RapidNet', 'mobilevig': 'MobileViG', 'repvit': 'RepViT'}
    assert content['meta'] == {
        'mmrapidnet_conversion': {
            'source': 'published.pth',
            'sha256': hashlib.sha256(files[0].read_bytes()).hexdigest(),
            'kind': f'{title[model.partition("_")[0]]} classification checkpoint',
            'model': model,
            'weights': entry,
            'tensors': len(source),
            'dropped': ['epoch'],
            'version': __version__,
        },
    }
    assert done.model == model
    assert done.dropped == ['epoch']


def test_a_training_checkpoint_as_published(rapidnet, files):
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
    done, result = converted(content, files)
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
    assert_holds(result, 'rapidnet_ti', {k: v + 1 for k, v in rapidnet.items()})
    done, result = converted(content, files, ema=True)
    assert done.weights == 'state_dict_ema'
    done, result = converted(content, files, ema=False)
    assert done.weights == 'state_dict'
    assert 'state_dict_ema' in done.dropped
    assert_holds(result, 'rapidnet_ti', rapidnet)


def test_bare_state_dict_and_what_lies_beside_it(rapidnet, files):
    bare = {f'module.{name}': value for name, value in rapidnet.items()}
    done, content = converted({**bare, 'epoch': 3}, files, model='rapidnet_ti')
    assert_holds(content, 'rapidnet_ti', rapidnet)
    assert (done.weights, done.dropped) == ('the file itself', ['epoch'])


def test_another_number_of_classes(rapidnet, files):
    for name in ('head', 'dist_head'):
        for leaf in ('weight', 'bias'):
            rapidnet[f'{name}.{leaf}'] = rapidnet[f'{name}.{leaf}'][:7]
    _, content = converted({'state_dict': rapidnet}, files)
    state = content['state_dict']
    assert state['head.classifier.dist_head.weight'].shape == (7, 512, 1, 1)
    # A view's whole memory would have been written: 1000 rows instead of 7.
    assert files[1].stat().st_size < files[0].stat().st_size - 3_000_000


def test_the_account_in_words(rapidnet, files):
    done, _ = converted({'state_dict': rapidnet, 'epoch': 1, 'args': {}}, files)
    assert str(done) == (
        'published.pth is a RapidNet classification checkpoint; weights taken from '
        'state_dict\nmodel: rapidnet_ti\nmatched 518 of 518 tensors; dropped 2 other '
        'entries of the file: epoch, args'
    )


@pytest.mark.parametrize('model', SMALL)
def test_a_converted_file_loads(model, states, files):
    """As the start of a backbone, and as a whole classifier."""
    pytest.importorskip('mmpretrain')
    converted({'state_dict': states[model]}, files)
    _, dst = files
    cfg = load_config(str(CONFIGS / f'{model}_in1k.py'))
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        classifier = MODELS.build(cfg.model)
    content = read_checkpoint(str(dst))
    check_fits(classifier, content, str(dst))
    classifier.load_state_dict(content['state_dict'])

    init_cfg = dict(type='Pretrained', checkpoint=str(dst))
    backbone = MODELS.build({**cfg.model.backbone, 'init_cfg': init_cfg})
    backbone.init_weights()
    state = backbone.state_dict()
    assert all(
        torch.equal(state[name], value)
        for name, value in classifier.backbone.state_dict().items()
    )


# ------------------------------------------------------------------ timm's names


@pytest.fixture(scope='module')
def timm_model():
    timm = pytest.importorskip('timm')
    torch.manual_seed(0)
    return randomize_norms(timm.create_model('repvit_m0_9', num_classes=10)).eval()


@pytest.mark.parametrize('form', ['bare', 'state_dict', 'safetensors'])
def test_timm_names(form, timm_model, files, tmp_path):
    source = timm_model.state_dict()
    if form == 'safetensors':
        save_file = pytest.importorskip('safetensors.torch').save_file
        save_file(source, tmp_path / 'timm.safetensors')
        convert.convert_checkpoint(tmp_path / 'timm.safetensors', files[1])
    else:
        wrapped = source if form == 'bare' else {'state_dict': source}
        done, _ = converted(wrapped, files)
        assert done.kind == "timm's RepViT classification checkpoint"
        assert done.model == 'repvit_m0_9'
    state = read_checkpoint(str(files[1]))['state_dict']
    names = TIMM_REPVIT.published_keys(state)
    assert set(names.values()) == set(source)
    assert all(torch.equal(state[ours], source[names[ours]]) for ours in state)


def test_equals_timm(timm_model, files):
    _, content = converted(timm_model.state_dict(), files)
    backbone = MODELS.build(dict(type='RepViT', arch='m0_9')).eval()
    top = dict(type='DistilledLinearClassifier', in_channels=384, num_classes=10)
    top = MODELS.build(top).eval()
    for module, prefix in ((backbone, 'backbone.'), (top, 'head.classifier.')):
        module.load_state_dict(
            {
                name.removeprefix(prefix): value
                for name, value in content['state_dict'].items()
                if name.startswith(prefix)
            }
        )
    images = torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        ours, theirs = top(backbone(images)[-1]), timm_model(images)
    assert golden.largest_difference(ours, theirs) < 1e-5


# ----------------------------------------------------------------- dense models

SEGMENTER = 'semfpn_rapidnet_ti_ade20k'
DENSE = [
    ('maskrcnn_rapidnet_ti_coco', 'Mask R-CNN (mmdet 2.x) checkpoint with RapidNet'),
    ('maskrcnn_mobilevig_m_coco', 'Mask R-CNN (mmdet 2.x) checkpoint with MobileViG'),
    ('maskrcnn_repvit_m1_1_coco', 'Mask R-CNN (mmdet 2.x) checkpoint with RepViT'),
    (SEGMENTER, 'Semantic FPN (mmseg 0.x) checkpoint with RapidNet'),
    ('semfpn_repvit_m1_1_ade20k', 'Semantic FPN (mmseg 0.x) checkpoint with RepViT'),
]


def build_dense(config, num_classes):
    scope = 'mmdet' if config.startswith('maskrcnn') else 'mmseg'
    pytest.importorskip(scope)
    cfg = load_config(str(CONFIGS / f'{config}.py'))
    if scope == 'mmdet':
        for head in (cfg.model.roi_head.bbox_head, cfg.model.roi_head.mask_head):
            head.num_classes = num_classes
    else:
        cfg.model.decode_head.num_classes = num_classes
    with DefaultScope.overwrite_default_scope(scope):
        return MODELS.build(cfg.model)


def published_dense(config, model):
    """The file that the old libraries would have written."""
    family = config.split('_')[1]
    names = LAYOUTS[family].published_keys(model.state_dict(), 'backbone.')
    generator = torch.Generator().manual_seed(0)
    return {
        'meta': {
            'mmdet_version': '2.28.2',
            'config': 'model = dict(type="MaskRCNN")\nimport os\n',
            'CLASSES': ('circle', 'square', 'star'),
            'PALETTE': [(1, 2, 3), (4, 5, 6), (7, 8, 9)],
            'epoch': 12,
        },
        'state_dict': {
            theirs: torch.rand(value.shape, generator=generator).to(value.dtype)
            for theirs, value in zip(
                names.values(), model.state_dict().values(), strict=True
            )
        },
        'optimizer': {},
    }


@pytest.mark.parametrize(('config', 'kind'), DENSE)
def test_dense_models(config, kind, files):
    model = build_dense(config, num_classes=3)
    source = published_dense(config, model)
    published = source['state_dict']
    assert any(name.startswith('backbone.') for name in published)
    assert not set(published) & set(model.backbone.state_dict(prefix='backbone.'))

    done, content = converted(source, files)
    assert (done.kind, done.weights) == (kind, 'state_dict')
    assert done.model == '_'.join(config.split('_')[1:-1])
    assert done.dropped == [
        'optimizer',
        'meta.mmdet_version',
        'meta.config',
        'meta.epoch',
    ]
    assert content['meta']['dataset_meta'] == {
        'classes': ['circle', 'square', 'star'],
        'palette': [[1, 2, 3], [4, 5, 6], [7, 8, 9]],
    }
    check_fits(model, content, str(files[1]))
    model.load_state_dict(content['state_dict'])
    prefix = 'roi_head.' if config.startswith('maskrcnn') else 'decode_head.'
    heads = [name for name in published if name.startswith((prefix, 'neck.'))]
    assert len(heads) > 20
    state = model.state_dict()
    assert all(torch.equal(state[name], published[name]) for name in heads)
    names = LAYOUTS[config.split('_')[1]].published_keys(state, 'backbone.')
    assert all(torch.equal(state[ours], published[names[ours]]) for ours in state)


@pytest.fixture(scope='module')
def segmenter():
    return build_dense(SEGMENTER, num_classes=3)


def test_dense_models_that_do_not_fit(segmenter, files):
    source = published_dense(SEGMENTER, segmenter)
    state = source['state_dict']
    state['decode_head.extra.weight'] = torch.zeros(1)
    neck = 'neck.lateral_convs.0.conv.bias'
    del state[neck]
    message = f'our model: missing 1: {neck}; not accounted for 1: decode_head.extra.we'
    with pytest.raises(UserError, match=message):
        converted(source, files)
    del state['decode_head.conv_seg.weight']
    with pytest.raises(UserError, match='has no classifier .decode_head.conv_seg.weig'):
        converted(source, files)
    state['backbone.dist_head.bias'] = torch.zeros(1)
    with pytest.raises(
        UserError, match=r'fit any model; closest is rapidnet_ti: not acc.*: backbone.d'
    ):
        converted(source, files)
    assert not files[1].exists()


def test_dense_models_without_a_config(rapidnet, files, tmp_path):
    state = {f'backbone.{k}': v for k, v in rapidnet.items()}
    tops = ('backbone.head', 'backbone.dist_head', 'backbone.prediction')
    state = {k: v for k, v in state.items() if not k.startswith(tops)}
    state['decode_head.conv_seg.weight'] = torch.zeros(3, 4)
    torch.save({'state_dict': state}, files[0])
    (tmp_path / 'semfpn_rapidnet_xl_ade20k.py').touch()
    with pytest.raises(
        UserError,
        match=r'needs the config semfpn_rapidnet_ti_ade20k.py, which .* has not '
        r'\(of its kind: semfpn_rapidnet_xl_ade20k.py\)',
    ):
        convert.convert_checkpoint(*files, configs=tmp_path)


# ------------------------------------------------------------------ safetensors


@pytest.fixture
def _safetensors():
    pytest.importorskip('safetensors')


@pytest.mark.usefixtures('_safetensors')
def test_safetensors_hold_the_same(rapidnet, files, tmp_path):
    # Published files may share memory between tensors, which the format refuses.
    rapidnet['dist_head.bias'] = rapidnet['head.bias']
    done, pth = converted({'state_dict': rapidnet}, files)
    dst = tmp_path / 'new' / 'ours.safetensors'
    assert convert.convert_checkpoint(files[0], dst) == done
    content = read_checkpoint(str(dst))
    assert content['meta'] == pth['meta']
    assert_holds(content, 'rapidnet_ti', rapidnet)
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
        convert.convert_checkpoint(dst, tmp_path / 'again.pth')


@pytest.mark.usefixtures('_safetensors')
def test_published_safetensors(states, files, tmp_path):
    from safetensors.torch import save_file

    save_file(states['repvit_m0_6'], tmp_path / 'bare.safetensors')
    done = convert.convert_checkpoint(tmp_path / 'bare.safetensors', files[1])
    assert (done.model, done.weights) == ('repvit_m0_6', 'the file itself')
    assert_holds(read_checkpoint(str(files[1])), 'repvit_m0_6', states['repvit_m0_6'])


@pytest.mark.usefixtures('_safetensors')
def test_damaged_safetensors(tmp_path):
    from safetensors.torch import save_file

    path = tmp_path / 'cut.safetensors'
    save_file({'a': torch.zeros(1000)}, path)
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(UserError, match='cut.safetensors is truncated or not') as error:
        read_checkpoint(str(path))
    assert '\n' not in str(error.value)


@pytest.mark.usefixtures('_safetensors')
def test_config_text_in_safetensors_is_inert(tmp_path):
    from mmrapidnet.checkpoints import safetensors_file

    meta = {'config': 'import os\nos.system("echo")\n', 'cfg': 'seed = 1'}
    path = tmp_path / 'text.safetensors'
    path.write_bytes(safetensors_file.write({'a': torch.zeros(1)}, meta))
    assert read_checkpoint(str(path))['meta'] == {'config': '', 'cfg': 'seed = 1\n'}


@pytest.mark.usefixtures('_safetensors')
def test_without_safetensors(rapidnet, files, tmp_path, monkeypatch):
    torch.save(rapidnet, files[0])
    path = tmp_path / 'ours.safetensors'
    convert.convert_checkpoint(files[0], path)
    monkeypatch.setitem(sys.modules, 'safetensors.torch', None)
    message = '.safetensors files need safetensors, .* pip install safetensors'
    with pytest.raises(UserError, match=message):
        read_checkpoint(str(path))
    with pytest.raises(UserError, match=message):
        convert.convert_checkpoint(files[0], tmp_path / 'more.safetensors')
    assert sorted(os.listdir(tmp_path)) == ['ours.safetensors', 'published.pth']


# ----------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (
            lambda s: s.pop('stem.stem.0.weight'),
            'does not fit any model; closest is rapidnet_ti: missing 1: stem.stem.0.we',
        ),
        (
            lambda s: s.update({'teacher.a': torch.zeros(1)}),
            'closest is rapidnet_ti: not accounted for 1: teacher.a$',
        ),
        (
            lambda s: s.update({'head.bias': torch.zeros(3)}),
            r'rapidnet_ti: other shapes 1: head.bias \(3,\) instead of \(1000,\)$',
        ),
        (
            lambda s: s.pop('prediction.1.weight'),
            r'cannot be converted: it has no classifier \(prediction.1.weight\)',
        ),
        (
            lambda s: s.update({'module.head.bias': torch.zeros(3)}),
            "names in state_dict differ in 'module.' alone",
        ),
        (
            lambda s: s.update({'head.extra': 3}),
            'head.extra in state_dict is no tensor, but of type int',
        ),
    ],
)
def test_what_is_not_accounted_for(change, message, rapidnet, files):
    change(rapidnet)
    with pytest.raises(UserError, match=message):
        converted({'state_dict': rapidnet}, files)
    assert not files[1].exists()


def test_the_model_that_is_expected(rapidnet, files):
    content = {'state_dict': rapidnet}
    with pytest.raises(
        UserError, match=r'a RapidNet classification .*not fit rapidnet_s: missing \d+:'
    ):
        converted(content, files, model='rapidnet_s')
    with pytest.raises(
        UserError,
        match=r'--model repvit_m1_1: .*published.pth is a RapidNet class.*choose one '
        'of rapidnet_ti, rapidnet_s, rapidnet_m, rapidnet_b, or leave',
    ):
        converted(content, files, model='repvit_m1_1')
    with pytest.raises(UserError, match='unknown model rapidnet_xl: choose .*repvit_m'):
        converted(content, files, model='rapidnet_xl')


def test_a_moving_average_that_is_not_there(rapidnet, files):
    with pytest.raises(UserError, match=r'--ema: .* holds no moving average'):
        converted({'state_dict': rapidnet}, files, ema=True)
    with pytest.raises(UserError, match=r'--ema: .* holds no moving average'):
        converted(rapidnet, files, ema=True)
    with pytest.raises(UserError, match=r'--no-ema: .* alone \(state_dict_ema\)'):
        converted({'state_dict_ema': rapidnet}, files, ema=False)


def test_converting_twice(rapidnet, files, tmp_path):
    converted({'state_dict': rapidnet}, files)
    before = files[1].read_bytes()
    with pytest.raises(UserError, match='ours.pth was converted before, from publish'):
        convert.convert_checkpoint(files[1], tmp_path / 'twice.pth')
    assert files[1].read_bytes() == before
    with pytest.raises(UserError, match='is the file that is read'):
        convert.convert_checkpoint(files[0], files[0])


@pytest.mark.parametrize('prefix', ['', 'backbone.'])
def test_our_own_names(prefix, files):
    state = MODELS.build(dict(type='RapidNet', arch='ti')).state_dict()
    state = {prefix + name: value for name, value in state.items()}
    with pytest.raises(UserError, match="in mmrapidnet's names already; nothing to c"):
        converted({'state_dict': state}, files)


@pytest.mark.parametrize(
    ('content', 'found'),
    [
        ({'state_dict': {'conv1.weight': torch.zeros(1)}}, 'conv1.weight'),
        ({'backbone.stem.stem.0.weight': torch.zeros(1)}, 'backbone.stem.stem.0'),
        ({'epoch': 3}, 'no weights'),
    ],
)
def test_something_else(content, found, files):
    with pytest.raises(
        UserError,
        match='is not a published checkpoint that can be converted: expected a '
        r"classifier \(MobileViG, RapidNet, RepViT, timm's RepViT\) or one of "
        r'Mask R-CNN '
        rf'\(mmdet 2.x\) and Semantic FPN \(mmseg 0.x\) on .*, but found {found}',
    ):
        converted(content, files)


class Canary:
    """An object that creates a file when it is unpickled."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return (open, (self.path, 'w'))


def test_a_file_that_would_run_code(rapidnet, files, tmp_path):
    content = {'state_dict': rapidnet, 'args': Canary(tmp_path / 'canary')}
    with pytest.raises(UserError, match='not data and might run code') as error:
        converted(content, files)
    assert '\n' not in str(error.value)
    assert os.listdir(tmp_path) == ['published.pth']


def test_places_that_cannot_be_written(rapidnet, files, tmp_path):
    torch.save(rapidnet, files[0])
    with pytest.raises(UserError, match='is a folder: give the name of the file'):
        convert.convert_checkpoint(files[0], tmp_path)
    with pytest.raises(UserError, match='ours.pth cannot be written: '):
        convert.convert_checkpoint(files[0], files[0] / 'ours.pth')
    with pytest.raises(UserError, match='gone.pth does not exist'):
        convert.convert_checkpoint(tmp_path / 'gone.pth', files[1])


# ------------------------------------------------------- files not yet converted


@pytest.mark.parametrize('model', SMALL)
@pytest.mark.parametrize('entry', [None, 'state_dict', 'state_dict_ema', 'model'])
def test_pretrained_asks_for_conversion(model, entry, states, tmp_path):
    path = tmp_path / 'as published.pth'
    state = states[model]
    torch.save({entry: state} if entry else state, path)
    family, _, arch = model.partition('_')
    backbone = MODELS.build(
        dict(
            type=LAYOUTS[family].backbone,
            arch=arch,
            init_cfg=dict(type='Pretrained', checkpoint=str(path)),
        )
    )
    with pytest.raises(UserError) as error:
        backbone.init_weights()
    assert str(error.value) == (
        f'{path} is a {LAYOUTS[family].title} classification checkpoint, still in its '
        'published names: convert it with `python tools/convert_checkpoint.py '
        f"'{path}' 'as published_converted.pth'` and give "
        'as published_converted.pth instead'
    )


def test_whole_models_ask_for_conversion(segmenter):
    content = published_dense(SEGMENTER, segmenter)
    message = r'Semantic FPN \(mmseg 0.x\) checkpoint with RapidNet, still .*convert_ch'
    with pytest.raises(UserError, match=message):
        check_fits(segmenter, content, 'published.pth')


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
