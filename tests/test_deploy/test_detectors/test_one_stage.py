"""Detectors in one stage against mmdet's own prediction, in PyTorch and exported."""

import pytest
import torch
from helpers.tiny_detectors import (
    SIZES,
    Detector,
    assert_file_detects_alike,
    build,
    changed,
    make_image,
    predict,
)

from mmrapidnet.utils.errors import UserError

SOFTMAX = dict(_delete_=True, type='CrossEntropyLoss', use_sigmoid=False)
NAMES = ('retinanet', 'fcos', 'atss', 'gfl', 'rtmdet')


@pytest.fixture(scope='module')
def models():
    return {name: build(name) for name in NAMES}


@torch.no_grad()
def assert_predicts_alike(model, image):
    found = predict(model, image)
    expected = found.bboxes, found.scores, found.labels
    for ours, theirs in zip(Detector(model)(image), expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)


@pytest.mark.parametrize('size', SIZES)
@pytest.mark.parametrize('name', NAMES)
def test_graph_predicts_what_mmdet_does(name, size, models):
    image = make_image(size)
    assert_predicts_alike(models[name], image)
    found = predict(models[name], image)
    # Worth comparing: every class, all sizes of scores and boxes, some clipped.
    assert len(found.labels.unique()) == 5
    assert found.scores.std() > 0.05
    assert (found.bboxes[:, 2:] - found.bboxes[:, :2]).std() > 5
    assert found.bboxes[:, 2].max() == size[1] and found.bboxes[:, 3].max() == size[0]


@pytest.mark.parametrize(
    ('path', 'value'),
    [
        ('bbox_head.test_cfg.nms_pre', 20),
        ('bbox_head.test_cfg.score_thr', 0.7),
        ('bbox_head.test_cfg.min_bbox_size', 25),
        ('bbox_head.test_cfg.nms.iou_threshold', 0.2),
        ('bbox_head.test_cfg.nms.class_agnostic', True),
        ('bbox_head.test_cfg.nms.max_num', 7),
        ('bbox_head.test_cfg.max_per_img', 9),
    ],
)
@pytest.mark.parametrize('name', ['retinanet', 'fcos'])
def test_graph_honours_the_options(name, path, value, models):
    image, other = make_image(SIZES[1]), changed(models[name], path, value)
    assert_predicts_alike(other, image)
    before, after = predict(models[name], image), predict(other, image)
    assert not torch.equal(before.scores, after.scores), 'no effect here'


@pytest.mark.parametrize(
    ('name', 'options'),
    [
        ('retinanet', {'bbox_head.loss_cls': SOFTMAX}),
        ('retinanet', {'bbox_head.type': 'FreeAnchorRetinaHead'}),
        ('fcos', {'bbox_head.norm_on_bbox': True, 'bbox_head.centerness_on_reg': True}),
        ('rtmdet', {'bbox_head.exp_on_reg': True, 'bbox_head.with_objectness': True}),
    ],
    ids=['softmax', 'free anchors', 'fcos+', 'objectness'],
)
def test_graph_of_other_heads(name, options):
    assert_predicts_alike(build(name, **options), make_image(SIZES[1]))


@pytest.mark.parametrize(
    ('path', 'value'),
    [
        ('bbox_head.test_cfg.score_thr', 1.0),
        ('bbox_head.test_cfg.min_bbox_size', 1000),
    ],
    ids=['no score', 'no box'],
)
@pytest.mark.parametrize('name', NAMES)
def test_graph_finds_nothing(name, path, value, models):
    nothing, image = changed(models[name], path, value), make_image(SIZES[1])
    assert_predicts_alike(nothing, image)
    assert [len(output) for output in Detector(nothing)(image)] == [0, 0, 0]


@pytest.mark.parametrize(
    ('path', 'value', 'message'),
    [
        ('bbox_head.test_cfg.nms_pre', -1, 'test_cfg.nms_pre is -1: an exported'),
        ('bbox_head.test_cfg.nms.type', 'soft_nms', "test_cfg.nms is .*'soft_nms'"),
        (
            'bbox_head.bbox_coder.clip_border',
            False,
            r'bbox_coder.clip_border .* is False: .* with True only, .*part=backbone\)',
        ),
        ('bbox_head.bbox_coder', None, 'bbox_coder of this RetinaNet is NoneType: '),
        ('bbox_head.loss_cls.custom_cls_channels', True, 'custom_cls_channels .* True'),
    ],
)
def test_what_the_graph_cannot_say_is_refused(path, value, message, models):
    with pytest.raises(UserError, match=message) as error:
        Detector(changed(models['retinanet'], path, value))
    assert '\n' not in str(error.value)


def test_a_head_that_predicts_in_another_way_is_refused():
    message = (
        'bbox_head is PAAHead, which predicts in a way of its own: .*part=backbone'
    )
    with pytest.raises(UserError, match=message):
        Detector(build('paa'))


@pytest.mark.slow
@pytest.mark.parametrize('fmt', ['onnx', 'openvino'])
@pytest.mark.parametrize('name', ['retinanet', 'fcos'])
def test_exported_file_detects_what_the_graph_does(name, fmt, files):
    assert_file_detects_alike(*files.open(name, fmt))
