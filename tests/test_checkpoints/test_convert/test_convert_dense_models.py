"""Files of dense models become ours, heads and labels included, or it is an error."""

import pytest
import torch
from helpers.published import (
    CONFIGS,
    KEY_MAPS,
    convert,
    thin_archs,
    thin_state,
    write_thin_config,
)
from mmengine.registry import MODELS, DefaultScope

from mmrapidnet.checkpoints.state_dict import check_fits
from mmrapidnet.config.load import load_config
from mmrapidnet.utils.errors import UserError

SEGMENTER = 'semfpn_rapidnet_ti_ade20k'
# One of each kind and of each family; the others with them in `make test-all`.
DENSE = [
    ('maskrcnn_rapidnet_ti_coco', 'Mask R-CNN (mmdet 2.x) checkpoint with RapidNet'),
    ('maskrcnn_mobilevig_m_coco', 'Mask R-CNN (mmdet 2.x) checkpoint with MobileViG'),
    ('semfpn_repvit_m1_1_ade20k', 'Semantic FPN (mmseg 0.x) checkpoint with RepViT'),
]
MORE = [
    ('maskrcnn_repvit_m1_1_coco', 'Mask R-CNN (mmdet 2.x) checkpoint with RepViT'),
    (SEGMENTER, 'Semantic FPN (mmseg 0.x) checkpoint with RapidNet'),
]


@pytest.fixture(params=['thin', pytest.param('published', marks=pytest.mark.slow)])
def configs(request, tmp_path):
    """The folder of the configs, of thin models or of those that are published."""
    if request.param == 'published':
        yield CONFIGS
        return
    with thin_archs():
        for name, _ in (*DENSE, *MORE):
            write_thin_config(name, tmp_path)
        yield tmp_path


def build_dense(path, num_classes):
    scope = 'mmdet' if path.name.startswith('maskrcnn') else 'mmseg'
    pytest.importorskip(scope)
    cfg = load_config(str(path))
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
    names = KEY_MAPS[family].published_keys(model.state_dict(), 'backbone.')
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


@pytest.mark.parametrize(
    ('config', 'kind'),
    [*DENSE, *(pytest.param(*case, marks=pytest.mark.slow) for case in MORE)],
)
def test_dense_models(config, kind, configs, tmp_path):
    model = build_dense(configs / f'{config}.py', num_classes=3)
    source = published_dense(config, model)
    published = source['state_dict']
    assert any(name.startswith('backbone.') for name in published)
    assert not set(published) & set(model.backbone.state_dict(prefix='backbone.'))

    done, content = convert(source, tmp_path, configs=configs)
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
    check_fits(model, content, 'ours.pth')
    model.load_state_dict(content['state_dict'])
    prefix = 'roi_head.' if config.startswith('maskrcnn') else 'decode_head.'
    heads = [name for name in published if name.startswith((prefix, 'neck.'))]
    assert len(heads) > 20
    state = model.state_dict()
    assert all(torch.equal(state[name], published[name]) for name in heads)
    names = KEY_MAPS[config.split('_')[1]].published_keys(state, 'backbone.')
    assert all(torch.equal(state[ours], published[names[ours]]) for ours in state)


@pytest.fixture(scope='module')
def segmenter(tmp_path_factory):
    """A thin one, and the folder of its config."""
    folder = tmp_path_factory.mktemp('configs')
    with thin_archs():
        path = write_thin_config(SEGMENTER, folder)
        return build_dense(path, num_classes=3), folder


@pytest.mark.usefixtures('thin_archs')
def test_dense_models_that_do_not_fit(segmenter, tmp_path):
    model, configs = segmenter
    options = dict(configs=configs, model='rapidnet_ti')
    source = published_dense(SEGMENTER, model)
    state = source['state_dict']
    state['decode_head.extra.weight'] = torch.zeros(1)
    neck = 'neck.lateral_convs.0.conv.bias'
    del state[neck]
    message = f'our model: missing 1: {neck}; not accounted for 1: decode_head.extra.we'
    with pytest.raises(UserError, match=message):
        convert(source, tmp_path, **options)
    del state['decode_head.conv_seg.weight']
    with pytest.raises(UserError, match='has no classifier .decode_head.conv_seg.weig'):
        convert(source, tmp_path, **options)
    state['backbone.dist_head.bias'] = torch.zeros(1)
    with pytest.raises(
        UserError, match=r'fit any model; closest is rapidnet_ti: not acc.*: backbone.d'
    ):
        convert(source, tmp_path, configs=configs)
    assert not (tmp_path / 'ours.pth').exists()


@pytest.mark.usefixtures('thin_archs')
def test_dense_models_without_a_config(tmp_path):
    tops = ('head', 'dist_head', 'prediction')
    names = thin_state('rapidnet_ti')
    state = {f'backbone.{k}': v for k, v in names.items() if not k.startswith(tops)}
    state['decode_head.conv_seg.weight'] = torch.zeros(3, 4)
    (tmp_path / 'semfpn_rapidnet_xl_ade20k.py').touch()
    with pytest.raises(
        UserError,
        match=r'needs the config semfpn_rapidnet_ti_ade20k.py, which .* has not '
        r'\(of its kind: semfpn_rapidnet_xl_ade20k.py\)',
    ):
        convert({'state_dict': state}, tmp_path, configs=tmp_path)


def test_whole_models_ask_for_conversion(segmenter):
    model, _ = segmenter
    content = published_dense(SEGMENTER, model)
    message = r'Semantic FPN \(mmseg 0.x\) checkpoint with RapidNet, still .*convert_ch'
    with pytest.raises(UserError, match=message):
        check_fits(model, content, 'published.pth')
