"""Detectors in two stages against mmdet's own prediction, in PyTorch and exported."""

from copy import deepcopy
from functools import cache

import numpy as np
import onnx
import onnxruntime
import openvino
import pytest
import torch
from helpers.commands import REPO
from helpers.tiny_detectors import SIZES, Detector, changed, make_image, pad
from helpers.tiny_models import GraphSession
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.registry import init_default_scope
from torch import nn

from dev.benchmark.peers import randomize_norms
from mmrapidnet.deploy import inference
from mmrapidnet.deploy.detectors import build_detector
from mmrapidnet.deploy.graphs import build_graph
from mmrapidnet.deploy.metadata import describe, from_text, to_text
from mmrapidnet.deploy.ops import nms, onnx_translations, roi_align, top
from mmrapidnet.utils.errors import UserError


@torch.no_grad()
def predict(model, image):
    """What mmdet predicts: boxes, scores, labels, of masks 28x28 probabilities."""
    heads = list_stages(model, 'mask_head') if model.with_mask else []
    logits = [[] for _ in heads]
    hooks = [
        head.register_forward_hook(lambda *called, to=to: to.append(called[2]))
        for head, to in zip(heads, logits)
    ]
    size = tuple(image.shape[2:])
    sample = DetDataSample(
        metainfo=dict(img_shape=size, ori_shape=size, scale_factor=(1.0, 1.0))
    )
    features = model.extract_feat(pad(image))
    proposals = model.rpn_head.predict(features, [sample], rescale=False)
    (found,) = model.roi_head.predict(features, proposals, [sample], rescale=False)
    for hook in hooks:
        hook.remove()
    boxes = found.bboxes, found.scores, found.labels
    if not heads:
        return boxes
    if len(found) == 0:
        return *boxes, torch.zeros(0, 28, 28)
    masks = [
        (given[:, 0] if head.class_agnostic else given[range(len(found)), found.labels])
        for head, (given,) in zip(heads, logits)
    ]
    return *boxes, torch.stack([mask.sigmoid() for mask in masks]).mean(dim=0)


def list_stages(model, part):
    """The stages of a part of the RoI head; a cascade has three."""
    found = getattr(model.roi_head, part)
    return list(found) if isinstance(found, nn.ModuleList) else [found]


@torch.no_grad()
def spread(model, layer, std):
    """Let each channel of a head's last layer give 0 in the mean, with this std."""
    given = []
    hook = layer.register_forward_hook(
        lambda module, inputs, output: given.append(output.transpose(0, 1).flatten(1))
    )
    predict(model, make_image(SIZES[0]))
    if not given:
        model.semantic_head(model.extract_feat(pad(make_image(SIZES[0]))))
    hook.remove()
    given = torch.cat(given, dim=1)
    scale = std / given.std(dim=1)
    layer.weight *= scale.view(-1, *[1] * (layer.weight.dim() - 1))
    layer.bias.copy_((layer.bias - given.mean(dim=1)) * scale)


def build(change=lambda cfg: None, **options):
    """A small Mask R-CNN, or what it is changed into, with scores of every size."""
    cfg = Config.fromfile(REPO / 'configs' / 'maskrcnn_rapidnet_ti_shapes.py')
    arch = dict(
        channels=(16, 16, 16, 16), local_blocks=(1, 0, 0, 0), global_blocks=(0, 0, 0, 0)
    )
    cfg.model.backbone.arch = arch
    cfg.model.neck.update(in_channels=list(arch['channels']), out_channels=16)
    cfg.model.rpn_head.update(in_channels=16, feat_channels=16)
    cfg.model.roi_head.bbox_head.update(in_channels=16, fc_out_channels=256)
    cfg.model.roi_head.mask_head.update(in_channels=16, conv_out_channels=16)
    cfg.model.test_cfg.rpn.nms_pre = 100
    for name in ('bbox_roi_extractor', 'mask_roi_extractor'):
        extractor = cfg.model.roi_head[name]
        extractor.out_channels = 16
        extractor.roi_layer.sampling_ratio = 0
        extractor.finest_scale = 14  # boxes of small images on every level
    cfg.merge_from_dict({f'model.{key}': value for key, value in options.items()})
    change(cfg.model)
    torch.manual_seed(0)
    init_default_scope('mmdet')
    model = randomize_norms(MODELS.build(cfg.model)).eval()
    for module in model.modules():
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)):
            nn.init.kaiming_normal_(module.weight, nonlinearity='relu')
    spread(model, model.rpn_head.rpn_cls, 2.0)
    spread(model, model.rpn_head.rpn_reg, 0.4)
    for head in list_stages(model, 'bbox_head'):
        spread(model, head.fc_cls, 1.5)
        spread(model, head.fc_reg, 6.0)
    for head in list_stages(model, 'mask_head') if model.with_mask else []:
        spread(model, head.conv_logits, 2.0)
    if hasattr(model, 'semantic_head'):
        spread(model, model.semantic_head.conv_logits, 2.0)
    return model


def without_masks(cfg):
    """Make a model's config one of Faster or Cascade R-CNN."""
    cfg.type = 'FasterRCNN' if cfg.type == 'MaskRCNN' else cfg.type
    cfg.roi_head.mask_roi_extractor = cfg.roi_head.mask_head = None


def in_a_cascade(cfg):
    """Give a model's config three stages, one of which refines by class."""
    head = cfg.roi_head.bbox_head
    cfg.type, cfg.train_cfg = 'CascadeRCNN', None
    cfg.roi_head.update(
        type='CascadeRoIHead',
        num_stages=3,
        stage_loss_weights=[1, 0.5, 0.25],
        bbox_head=[
            dict(
                head,
                reg_class_agnostic=stage != 1,
                bbox_coder=dict(head.bbox_coder, target_stds=[std, std, 2 * std, std]),
            )
            for stage, std in enumerate((0.1, 0.05, 0.03))
        ],
    )


def in_a_cascade_without_masks(cfg):
    in_a_cascade(cfg)
    without_masks(cfg)


def panoptic(cfg):
    """Give a model's config stuff of four classes."""
    cfg.type = 'PanopticFPN'
    classes = dict(num_things_classes=6, num_stuff_classes=4)
    cfg.semantic_head = dict(
        type='PanopticFPNHead',
        **classes,
        in_channels=16,
        inner_channels=8,
        start_level=0,
        end_level=4,
        norm_cfg=dict(type='GN', num_groups=4),
        loss_seg=dict(type='CrossEntropyLoss', ignore_index=255),
    )
    cfg.panoptic_fusion_head = dict(type='HeuristicFusionHead', **classes)
    # As mmdet's config has it.
    cfg.test_cfg.rcnn.nms.class_agnostic = True
    cfg.test_cfg.panoptic = dict(mask_overlap=0.5, stuff_area_limit=600)


@pytest.fixture(scope='module')
def model():
    return build()


@torch.no_grad()
def assert_predicts_alike(model, image):
    pairs = zip(Detector(model)(image), predict(model, image), strict=True)
    for ours, theirs in pairs:
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)


@pytest.mark.parametrize('size', SIZES)
def test_graph_predicts_what_mmdet_does(model, size):
    image = make_image(size)
    assert_predicts_alike(model, image)
    boxes, scores, labels, masks = predict(model, image)
    # Worth comparing: every class, all sizes of scores and masks, boxes clipped, some
    # to nothing.
    assert len(labels.unique()) == 6
    assert scores.std() > 0.05 and masks.std() > 0.1
    assert boxes[:, 2].max() == size[1] and boxes[:, 3].max() == size[0]
    assert (boxes[:, 2] == boxes[:, 0]).any()


@pytest.mark.parametrize(
    ('path', 'value'),
    [
        ('rpn_head.test_cfg.nms_pre', 40),
        ('rpn_head.test_cfg.nms_pre', -1),
        ('rpn_head.test_cfg.min_bbox_size', 20),
        ('rpn_head.test_cfg.nms.iou_threshold', 0.3),
        ('rpn_head.test_cfg.nms.max_num', 30),
        ('rpn_head.test_cfg.max_per_img', 7),
        ('roi_head.test_cfg.score_thr', 0.6),
        ('roi_head.test_cfg.nms.iou_threshold', 0.2),
        ('roi_head.test_cfg.nms.class_agnostic', True),
        ('roi_head.test_cfg.nms.max_num', 5),
        ('roi_head.test_cfg.max_per_img', 9),
        ('roi_head.test_cfg.max_per_img', -1),
        ('roi_head.bbox_roi_extractor.finest_scale', 56),
    ],
)
def test_graph_honours_the_options(model, path, value):
    image, other = make_image(SIZES[1]), changed(model, path, value)
    assert_predicts_alike(other, image)
    alike = map(torch.equal, predict(model, image), predict(other, image))
    assert not all(alike), 'the option has no effect here'


def test_graph_is_the_same_from_split_thr_on(model):
    # mmcv then takes class by class.
    split = changed(model, 'roi_head.test_cfg.nms.split_thr', 30)
    assert_predicts_alike(split, make_image(SIZES[1]))


def test_a_high_threshold_leaves_one_class_a_proposal(model):
    """So that NMS across classes stays below split_thr, as in panoptic models."""
    nms = dict(type='nms', iou_threshold=0.5, class_agnostic=True, split_thr=1000)
    agnostic = changed(model, 'roi_head.test_cfg.nms', nms)
    with pytest.raises(UserError, match='split_thr=1000 boxes and there may be 1200'):
        build_detector(agnostic)
    sure = changed(agnostic, 'roi_head.test_cfg.score_thr', 0.5)
    assert len(predict(sure, make_image(SIZES[1]))[0]) > 3
    assert_predicts_alike(sure, make_image(SIZES[1]))


@pytest.mark.parametrize(
    'options',
    [
        {'roi_head.bbox_head.reg_class_agnostic': True},
        {'roi_head.mask_head.class_agnostic': True},
        {'roi_head.bbox_roi_extractor.roi_layer.aligned': False},
        {'roi_head.mask_roi_extractor.roi_layer.sampling_ratio': 2},
        {'rpn_head.loss_cls.use_sigmoid': False},
        {'rpn_head.anchor_generator.strides': [4, (8, 16), 16, 32, 64]},
    ],
    ids=lambda options: next(iter(options)),
)
def test_graph_of_other_heads(options):
    assert_predicts_alike(build(**options), make_image(SIZES[1]))


@pytest.mark.parametrize(
    ('path', 'value'),
    [
        ('roi_head.test_cfg.score_thr', 1.0),
        ('rpn_head.test_cfg.min_bbox_size', 1000),
    ],
    ids=['no detection', 'no proposal'],
)
def test_graph_finds_nothing(model, path, value):
    nothing, image = changed(model, path, value), make_image(SIZES[1])
    assert_predicts_alike(nothing, image)
    assert [len(output) for output in Detector(nothing)(image)] == [0, 0, 0, 0]


@pytest.mark.parametrize(
    ('change', 'outputs'),
    [
        (without_masks, 3),
        (in_a_cascade, 4),
        (in_a_cascade_without_masks, 3),
    ],
)
def test_graph_of_other_detectors(change, outputs):
    model = build(change)
    assert build_detector(model).settings == {'mask_threshold': 0.5} or outputs == 3
    for size in SIZES:
        image = make_image(size)
        assert_predicts_alike(model, image)
        found = predict(model, image)
        assert len(found) == outputs and len(found[1]) > 10
    nothing = changed(model, 'roi_head.test_cfg.score_thr', 1.0)
    assert_predicts_alike(nothing, image)
    assert [len(output) for output in Detector(nothing)(image)] == [0] * outputs


def test_graph_of_a_panoptic_model(monkeypatch):
    """Its objects laid over its stuff are mmdet's panoptic map."""
    model = build(panoptic)
    graph = build_graph(model)
    metadata = describe(None, graph, 'fp32')
    metadata['settings'] = inference.read_settings(model, graph)
    session = GraphSession(graph, from_text(to_text(metadata), 'a file'))
    monkeypatch.setattr(inference, 'open_session', lambda *_, **__: session)
    pixels = np.random.default_rng(0).integers(0, 255, (75, 110, 3), np.uint8)
    for size in ((75, 110), (150, 200)):
        scale = (110 / size[1], 75 / size[0])
        sample = DetDataSample(
            metainfo=dict(img_shape=(75, 110), ori_shape=size, scale_factor=scale)
        )
        image = torch.from_numpy(pixels).permute(2, 0, 1)
        (expected,) = model.test_step(dict(inputs=[image], data_samples=[sample]))
        expected = expected.pred_panoptic_seg.sem_seg[0].numpy()
        found = inference.ExportedModel('any.onnx').predict(pixels, size)['panoptic']
        # Near ties fall either way.
        assert (found != expected).mean() < 1e-3
        # Worth comparing: objects, stuff, and patches of stuff that are too small.
        kinds = np.unique(expected)
        assert (kinds > 1000).sum() > 2 and ((kinds > 5) & (kinds < 10)).any()
        assert 10 in kinds


@pytest.mark.parametrize(
    ('path', 'value', 'message'),
    [
        ('rpn_head.test_cfg.max_per_img', 0, 'test_cfg.rpn.max_per_img is 0'),
        (
            'roi_head.test_cfg.nms.type',
            'soft_nms',
            "test_cfg.rcnn.nms is {'type': 'soft_nms', 'iou_threshold': 0.5}: only",
        ),
        ('rpn_head.test_cfg.nms.offset', 1, "test_cfg.rpn.nms is .*'offset': 1}: only"),
        ('roi_head.test_cfg.nms.sigma', 0.5, "'sigma': 0.5}: only type='nms'"),
        ('roi_head.test_cfg.nms', None, 'test_cfg.rcnn.nms is .*None}: only'),
        (
            'roi_head.test_cfg.nms',
            dict(iou_threshold=0.5, class_agnostic=True, split_thr=1200),
            'class_agnostic holds for less than split_thr=1200 boxes and .* be 1200',
        ),
        (
            'roi_head.bbox_head.bbox_coder.clip_border',
            False,
            'bbox_coder.clip_border of this MaskRCNN is False: .* with True only, to',
        ),
        (
            'roi_head.mask_head.upsample_method',
            'carafe',
            'upsample_method of this MaskRCNN is carafe',
        ),
        (
            'roi_head.mask_roi_extractor.roi_layers.0.pool_mode',
            'max',
            'pool_mode of .* is max: a whole detector can be exported with avg only',
        ),
    ],
)
def test_what_the_graph_cannot_say_is_refused(model, path, value, message):
    with pytest.raises(UserError, match=message) as error:
        build_detector(changed(model, path, value))
    assert '\n' not in str(error.value)


def test_another_kind_of_detector_is_refused(model):
    queries = nn.Module()
    queries.panoptic_head = nn.Identity()
    with pytest.raises(UserError, match='the Identity of this Module cannot be exp'):
        build_detector(queries)
    other = changed(model, 'roi_head.bbox_roi_extractor', nn.Identity())
    with pytest.raises(UserError, match='extractor of .* is Identity: .* only'):
        build_detector(other)


# Two maps of the backbone alone, which are exported in a third of the time.
LEAN = {
    'backbone.out_indices': (0, 1),
    'neck': None,
    'rpn_head.anchor_generator.strides': [4, 8],
    'roi_head.bbox_roi_extractor.featmap_strides': [4, 8],
    'roi_head.mask_roi_extractor.featmap_strides': [4, 8],
}


EXPORTED = {
    'lean': (LEAN, None),
    'cascade': (LEAN, in_a_cascade),
    'boxes': (LEAN, without_masks),
    'full': ({}, None),
    'panoptic': ({}, panoptic),
}


@cache
def export(name):
    """A model, and its graph in ONNX for any height and width."""
    options, change = EXPORTED[name]
    model = build(*filter(None, [change]), **options)
    # Two maps tell boxes less apart: to refine them as much would magnify rounding.
    heads = list_stages(model, 'bbox_head')
    for head in heads:
        spread(model, head.fc_reg, 2.0 / len(heads))
    edge = dict(min=33, max=4096)
    program = torch.onnx.export(
        Detector(model).eval(),
        (make_image(SIZES[0]),),
        input_names=['image'],
        output_names=build_detector(model).outputs,
        opset_version=20,
        dynamo=True,
        dynamic_shapes={
            'image': {
                2: torch.export.Dim('height', **edge),
                3: torch.export.Dim('width', **edge),
            }
        },
        custom_translation_table=onnx_translations(),
        verbose=False,
    )
    return model, program.model_proto


@pytest.fixture(
    scope='module',
    params=[
        pytest.param(name, marks=[] if name == 'lean' else pytest.mark.slow)
        for name in EXPORTED
    ],
)
def exported(request):
    return export(request.param)


@pytest.fixture(scope='module')
def model_exported(exported):
    return exported[0]


def test_exported_file_has_standard_operators_only(exported):
    model, file = exported
    onnx.checker.check_model(file, full_check=True)
    assert [(opset.domain, opset.version) for opset in file.opset_import] == [('', 20)]
    assert not file.functions
    kinds = [node.op_type for node in file.graph.node]
    # One suppression each for proposals and boxes, one alignment a level and head; the
    # mask heads of a cascade share theirs.
    extractors = list_stages(model, 'bbox_roi_extractor')
    if model.with_mask:
        extractors += list_stages(model, 'mask_roi_extractor')[:1]
    assert kinds.count('NonMaxSuppression') == 2
    assert kinds.count('RoiAlign') == sum(e.num_inputs for e in extractors)


def is_float(constant, value):
    return getattr(constant, 'dtype', None) == np.float32 and constant == value


THRESHOLDS = dict(min_bbox_size=np.float32(0), score_thr=np.float32(0.05))


@pytest.fixture(scope='module')
def adjustable(exported):
    """The exported file with two thresholds of the config for inputs."""
    file = deepcopy(exported[1])
    constants = {
        constant.name: onnx.numpy_helper.to_array(constant)
        for constant in file.graph.initializer
    }
    for name, value in THRESHOLDS.items():
        (node,) = (
            node
            for node in file.graph.node
            if node.op_type == 'Greater'
            and is_float(constants.get(node.input[1]), value)
        )
        node.input[1] = name
        file.graph.input.append(
            onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [])
        )
    return file


def run_onnxruntime(file):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        file.SerializeToString(), options, providers=['CPUExecutionProvider']
    )
    return lambda inputs: session.run(None, inputs)


def run_openvino(file):
    options = {'INFERENCE_PRECISION_HINT': 'f32', 'INFERENCE_NUM_THREADS': 1}
    core = openvino.Core()
    model = core.read_model(file.SerializeToString())
    compiled = core.compile_model(model, 'CPU', options)
    return lambda inputs: list(compiled(inputs).values())


@pytest.fixture(scope='module', params=[run_onnxruntime, run_openvino])
def run(request, adjustable):
    run = request.param(adjustable)

    def run_with(image, **thresholds):
        inputs = {'image': image, **THRESHOLDS, **thresholds}
        return run(
            {key: np.asarray(value, np.float32) for key, value in inputs.items()}
        )

    return run_with


def test_exported_file_detects_what_the_graph_does(model_exported, run):
    for size in SIZES:
        image = make_image(size)
        with torch.no_grad():
            expected = Detector(model_exported)(image)
        assert len(expected[1]) > 10
        given = [torch.from_numpy(output) for output in run(image)]
        assert torch.equal(given[2], expected[2])
        torch.testing.assert_close(given[1], expected[1], rtol=0, atol=1e-4)
        for ours, theirs in zip(given, expected, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-3)


@pytest.mark.parametrize('thresholds', [dict(score_thr=1.0), dict(min_bbox_size=1000)])
def test_exported_file_finds_nothing(model_exported, run, thresholds):
    outputs = run(make_image(SIZES[1]), **thresholds)
    shapes = [output.shape for output in outputs]
    assert shapes[:3] == [(0, 4), (0,), (0,)]
    assert shapes[3:4] == ([(0, 28, 28)] if model_exported.with_mask else [])


class Operators(nn.Module):
    def forward(self, boxes, scores, features):
        return (
            top(scores, 4),
            top(scores, 1000),
            nms(boxes, scores, 100, 0.5),
            nms(boxes, scores, 3, 0.5),
            roi_align(features, boxes, 3, 2, 0.5, 2, True),
            roi_align(features, boxes, 3, 2, 0.5, 0, False),
        )


def test_operators_are_the_same_exported(tmp_path):
    boxes = torch.tensor(
        [
            [0.0, 0.0, 4.0, 4.0],
            [0.0, 0.0, 4.0, 2.0],  # IoU with the first: 0.5, not above it
            [10.0, 10.0, 14.0, 14.0],
            [10.0, 10.0, 14.0, 13.0],  # 0.75, of the same score
            [20.0, 20.0, 24.0, 24.0],
            [20.0, 20.0, 24.0, 24.0],  # the same again
            [5.0, 5.0, 5.0, 5.0],  # empty
            [5.0, 5.0, 5.0, 5.0],
        ]
    )
    scores = torch.tensor([0.9, 0.8, 0.5, 0.5, 0.7, 0.7, 0.4, 0.4])
    features = make_image((16, 12))
    expected = Operators()(boxes, scores, features)
    ranked = [0, 1, 4, 5, 2, 3, 6, 7]
    assert expected[0].tolist() == ranked[:4] and expected[1].tolist() == ranked
    assert expected[2].tolist() == [0, 1, 4, 2, 6, 7]
    assert expected[3].tolist() == [0, 1, 4]
    names = ['boxes', 'scores', 'features']
    number = torch.export.Dim('number', min=2, max=1000)
    program = torch.onnx.export(
        Operators().eval(),
        (boxes, scores, features),
        input_names=names,
        opset_version=20,
        dynamo=True,
        dynamic_shapes=({0: number}, {0: number}, {}),
        custom_translation_table=onnx_translations(),
        verbose=False,
    )
    generator = torch.Generator().manual_seed(0)
    corners = torch.rand(500, 2, generator=generator) * 20
    sizes = torch.rand(500, 2, generator=generator) * 10
    many = torch.cat([corners, corners + sizes], dim=1)
    tied = torch.randint(20, (500,), generator=generator) / 20
    for start in (run_onnxruntime, run_openvino):
        run = start(program.model_proto)
        for inputs in ((boxes, scores), (many, tied)):
            expected = Operators()(*inputs, features)
            arrays = dict(zip(names, (part.numpy() for part in (*inputs, features))))
            given = [torch.from_numpy(output) for output in run(arrays)]
            # Which of equal scores are within the limit, OpenVINO leaves open.
            assert torch.equal(inputs[1][given[0]], inputs[1][expected[0]])
            for ours, theirs in zip(expected[1:], given[1:]):
                torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)
