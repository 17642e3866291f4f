"""Graphs give what the libraries' own models give, pre-processing included."""

import pytest
import torch
from helpers import tiny_models
from mmengine.model import BaseDataPreprocessor, ImgDataPreprocessor
from mmengine.registry import MODELS, DefaultScope
from mmengine.structures import InstanceData
from torch.nn import functional as F

from mmrapidnet.deploy import fuse
from mmrapidnet.deploy.graphs import Preprocessing, build_graph, trace
from mmrapidnet.models import MobileViG
from mmrapidnet.utils.errors import UserError

SIZE = (70, 101)  # odd, and no multiple of a stride
MEAN, STD = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]


@pytest.fixture(scope='module')
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp('configs')
    return {
        kind: tiny_models.build_model(tiny_models.load(kind, folder, folder))
        for kind in tiny_models.CONFIGS
    }


@pytest.fixture(scope='module')
def pixels():
    """A picture as a pipeline packs it: uint8, (3, H, W), BGR."""
    generator = torch.Generator().manual_seed(3)
    return torch.randint(0, 256, (3, *SIZE), generator=generator, dtype=torch.uint8)


def preprocess(model, pixels):
    """What the model's own data preprocessor makes of one picture."""
    return model.data_preprocessor({'inputs': [pixels]})['inputs']


def run(model, pixels, part='whole'):
    graph = build_graph(model, part)
    with torch.no_grad():
        outputs = graph.module(pixels[None].float())
    assert isinstance(outputs, tuple)
    return graph, dict(zip(graph.outputs, outputs, strict=True))


@pytest.mark.parametrize(
    ('scope', 'cfg', 'shape'),
    [
        (
            'mmdet',
            dict(
                type='DetDataPreprocessor',
                mean=MEAN,
                std=STD,
                bgr_to_rgb=True,
                pad_size_divisor=32,
                pad_value=7,
            ),
            (96, 128),
        ),
        (
            'mmseg',
            dict(
                type='SegDataPreProcessor',
                mean=MEAN,
                std=STD,
                bgr_to_rgb=True,
                size=(64, 64),
            ),
            SIZE,
        ),
        # Of training, in every release of mmseg.
        ('mmseg', dict(type='SegDataPreProcessor', size_divisor=50), SIZE),
        (
            'mmpretrain',
            dict(
                type='ClsDataPreprocessor',
                mean=MEAN,
                std=STD,
                to_rgb=True,
                pad_size_divisor=10,
                pad_value=1,
            ),
            (70, 110),
        ),
        ('mmpretrain', dict(type='ClsDataPreprocessor', mean=MEAN, std=STD), SIZE),
        ('mmengine', dict(type='ImgDataPreprocessor', mean=[127], std=[64]), SIZE),
        ('mmengine', dict(type='ImgDataPreprocessor', rgb_to_bgr=True), SIZE),
        ('mmengine', dict(type='BaseDataPreprocessor'), SIZE),
    ],
)
def test_preprocessing_is_the_data_preprocessors(scope, cfg, shape, pixels):
    with DefaultScope.overwrite_default_scope(scope):
        preprocessor = MODELS.build(cfg)
    expected = preprocessor({'inputs': [pixels]})['inputs']
    if not isinstance(expected, torch.Tensor):  # the plainest one makes no batch
        expected = torch.stack(expected).float()
    got = Preprocessing(preprocessor)(pixels[None].float())
    assert got.shape == (1, 3, *shape)
    assert torch.equal(got, expected)


def test_preprocessing_that_no_graph_has():
    with DefaultScope.overwrite_default_scope('mmseg'):
        padding = MODELS.build(
            dict(type='SegDataPreProcessor', test_cfg=dict(size_divisor=32))
        )
    with pytest.raises(UserError, match="test_cfg pads images.*dict\\(type='Pad'"):
        Preprocessing(padding)

    class Strange(BaseDataPreprocessor):
        pass

    with pytest.raises(UserError, match='Strange is a data preprocessor that cannot'):
        Preprocessing(Strange())


def test_backbone(models, pixels):
    """Of a detector on the padded image."""
    model = models['detector']
    graph, outputs = run(model, pixels, 'backbone')
    with torch.no_grad():
        expected = model.backbone(preprocess(model, pixels))
    assert (graph.kind, graph.batched, graph.padded) == ('backbone', True, True)
    assert list(outputs) == ['feature0', 'feature1', 'feature2', 'feature3']
    assert outputs['feature3'].shape == (1, 32, 96 // 32, 128 // 32)
    for got, feature in zip(outputs.values(), expected, strict=True):
        assert torch.equal(got, feature)


def test_backbone_names_follow_out_indices(models, pixels):
    _, outputs = run(models['classifier'], pixels, 'backbone')
    assert list(outputs) == ['feature3']
    assert outputs['feature3'].shape == (1, 32, 3, 4)


def test_classifier(models, pixels):
    """Its logits are those that mmpretrain's own prediction starts from."""
    model = models['classifier']
    graph, outputs = run(model, pixels)
    with torch.no_grad():
        (sample,) = model.predict(preprocess(model, pixels))
    assert graph.kind == 'classifier'
    assert outputs['logits'].shape == (1, 1000)
    torch.testing.assert_close(outputs['logits'].softmax(1)[0], sample.pred_score)


def test_segmenter(models, pixels):
    """Its logits, enlarged, are mmseg's own."""
    model = models['segmenter']
    graph, outputs = run(model, pixels)
    with torch.no_grad():
        (sample,) = model.predict(preprocess(model, pixels))
    assert (graph.kind, graph.padded) == ('segmenter', False)
    assert outputs['logits'].shape == (1, 7, 18, 26)
    enlarged = F.interpolate(outputs['logits'], SIZE, mode='bilinear')
    torch.testing.assert_close(enlarged[0], sample.seg_logits.data)


def test_the_segmentor_given_stays_as_it_is(models):
    from mmseg.models.utils import Upsample

    model = models['segmenter']
    before = [type(module) for module in model.modules()]
    graph = build_graph(model)
    assert [type(module) for module in model.modules()] == before
    assert Upsample in before
    assert not any(isinstance(m, Upsample) for m in graph.module.modules())


def test_dense_part(models, pixels):
    model = models['detector']
    graph, outputs = run(model, pixels, 'dense')
    with torch.no_grad():
        maps = model.extract_feat(preprocess(model, pixels))
        scores, deltas = model.rpn_head(maps)
    assert (graph.kind, graph.batched) == ('dense', False)
    assert list(outputs) == [
        'p2',
        'p3',
        'p4',
        'p5',
        'p6',
        *(f'rpn_cls{i}' for i in range(5)),
        *(f'rpn_reg{i}' for i in range(5)),
    ]
    expected = (*maps, *scores, *deltas)
    for got, value in zip(outputs.values(), expected, strict=True):
        assert torch.equal(got, value)


def test_dense_part_without_a_neck(pixels, tmp_path):
    cfg = tiny_models.load('detector', tmp_path, tmp_path)
    cfg.model.update(neck=None, roi_head=None)
    cfg.model.backbone.out_indices = (3,)
    cfg.model.rpn_head.in_channels = 32
    cfg.model.rpn_head.anchor_generator.strides = [32]
    model = tiny_models.build_model(cfg)
    _, outputs = run(model, pixels, 'dense')
    assert list(outputs) == ['p5', 'rpn_cls0', 'rpn_reg0']
    with torch.no_grad():
        (features,) = model.backbone(preprocess(model, pixels))
    assert torch.equal(outputs['p5'], features)


def test_detector(models, pixels):
    """Its boxes are in pixels of the unpadded image, as mmdet's are."""
    from mmdet.structures import DetDataSample

    model = models['detector']
    graph, outputs = run(model, pixels)
    sample = DetDataSample(
        metainfo=dict(
            img_shape=SIZE, ori_shape=SIZE, batch_input_shape=SIZE, scale_factor=(1, 1)
        ),
        gt_instances=InstanceData(),
    )
    with torch.no_grad():
        (found,) = model.predict(preprocess(model, pixels), [sample])
    expected = found.pred_instances
    assert (graph.kind, graph.batched) == ('detector', False)
    assert list(outputs) == ['boxes', 'scores', 'labels', 'masks']
    assert len(expected) > 0
    torch.testing.assert_close(outputs['boxes'], expected.bboxes)
    torch.testing.assert_close(outputs['scores'], expected.scores)
    assert torch.equal(outputs['labels'], expected.labels)
    assert outputs['masks'].shape == (len(expected), 28, 28)
    height, width = SIZE
    assert outputs['boxes'][:, [0, 2]].max() <= width
    assert outputs['boxes'][:, [1, 3]].max() <= height


def test_a_fused_model_has_the_same_graph(models, pixels):
    for part in ('backbone', 'dense'):
        graph, expected = run(models['detector'], pixels, part)
        fused, outputs = run(fuse(models['detector']), pixels, part)
        assert fused.outputs == graph.outputs
        for name, value in expected.items():
            # Merged weights are rounded anew: 5e-6 of the norm, ten times in a place.
            atol = 5e-5 * value.abs().max().item()
            torch.testing.assert_close(outputs[name], value, atol=atol, rtol=0)


def test_what_compares_all_pixels_has_one_size(models):
    assert build_graph(models['segmenter']).dynamic
    arch = dict(channels=(8, 8, 8, 8), blocks=(1, 1, 1, 1))
    model = torch.nn.Module()
    model.data_preprocessor = ImgDataPreprocessor()
    model.backbone = MobileViG(arch=arch)
    assert not build_graph(model.eval(), 'backbone').dynamic
    model.backbone = MobileViG(arch=arch, out_indices=(0, 1))  # has no graph blocks
    graph = build_graph(model.eval(), 'backbone')
    assert graph.dynamic and graph.outputs == ('feature0', 'feature1')


def test_trace_holds_padding_as_numbers(models, pixels, recwarn):
    """A record for one size is right for it, and says nothing on the way."""
    graph, expected = run(models['detector'], pixels, 'dense')
    record = trace(graph, pixels[None].float())
    assert not [str(w.message) for w in recwarn if 'mmcv' not in w.filename]
    with torch.no_grad():
        outputs = record(pixels[None].float())
    for got, value in zip(outputs, expected.values(), strict=True):
        torch.testing.assert_close(got, value)
    assert 'aten::remainder' not in str(record.inlined_graph)


@pytest.mark.parametrize(
    ('version', 'enough'),
    [('2.1.2+cu121', False), ('2.5.1', False), ('2.6.0', True), ('2.13.0+cpu', True)],
)
def test_an_older_torch_is_told(models, monkeypatch, version, enough):
    monkeypatch.setattr(torch, '__version__', version)
    if enough:
        assert build_graph(models['classifier']).kind == 'classifier'
    else:
        with pytest.raises(UserError, match=f'needs torch >= 2.6, .* is {version[:5]}'):
            build_graph(models['classifier'])


def test_errors(models):
    classifier = models['classifier']
    with pytest.raises(UserError, match="unknown part 'head': choose .*backbone"):
        build_graph(classifier, 'head')
    with pytest.raises(UserError, match='ImageClassifier has no RPN: take part=whole'):
        build_graph(classifier, 'dense')
    with pytest.raises(UserError, match='training mode: call its eval'):
        build_graph(torch.nn.Linear(1, 1))
    with pytest.raises(UserError, match='Linear is neither .*part=backbone'):
        build_graph(torch.nn.Linear(1, 1).eval())
    strange = torch.nn.Module().eval()
    strange.backbone = torch.nn.Linear(1, 1)
    strange.data_preprocessor = ImgDataPreprocessor()
    with pytest.raises(UserError, match='Linear does not say .*out_indices'):
        build_graph(strange, 'backbone')
