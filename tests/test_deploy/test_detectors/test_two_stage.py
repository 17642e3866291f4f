"""Graphs of detectors in two stages against mmdet's own prediction."""

import numpy as np
import pytest
import torch
from helpers.tiny_detectors import SIZES, Detector, changed, make_image
from helpers.tiny_models import GraphSession
from helpers.tiny_two_stage import (
    build,
    in_a_cascade,
    in_a_cascade_without_masks,
    panoptic,
    predict,
    without_masks,
)
from mmdet.structures import DetDataSample
from torch import nn

from mmrapidnet.deploy import inference
from mmrapidnet.deploy.detectors import build_detector
from mmrapidnet.deploy.graphs import build_graph
from mmrapidnet.deploy.metadata import describe, from_text, to_text
from mmrapidnet.utils.errors import UserError


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
