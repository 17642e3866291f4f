"""Masks of dynamic convolutions against mmdet's own, in PyTorch and exported."""

from contextlib import contextmanager

import numpy as np
import pytest
import torch
from helpers.tiny_detectors import (
    GREY,
    SIZES,
    Detector,
    assert_file_detects_alike,
    build,
    changed,
    make_image,
    noise,
    predict,
)
from helpers.tiny_models import GraphSession

from mmrapidnet.deploy import inference
from mmrapidnet.deploy.graphs import build_graph
from mmrapidnet.deploy.image_masks import resize_masks
from mmrapidnet.deploy.inference import read_settings
from mmrapidnet.deploy.metadata import describe
from mmrapidnet.utils.errors import UserError

NAMES = ('rtmdet_ins', 'condinst')


BOXINST = {
    'bbox_head.type': 'BoxInstBboxHead',
    'mask_head.type': 'BoxInstMaskHead',
}


@pytest.fixture(scope='module')
def models():
    models = {name: build(name) for name in NAMES}
    models['boxinst'] = build('condinst', **BOXINST)
    return models | {'solov2': build('solov2')}


@contextmanager
def replaced(model, replacement):
    """Let mmdet's dynamic convolutions go through ``replacement(theirs, *inputs)``."""
    if model.with_mask:
        owner, name = model.mask_head, 'dynamic_conv_forward'
    else:
        owner, name = model.bbox_head, '_mask_predict_by_feat_single'
    theirs = getattr(owner, name)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(owner, name, lambda *inputs: replacement(theirs, *inputs))
        yield


def predict_logits(model, image):
    """mmdet's detections, and the logits of their masks before they are enlarged."""
    logits = []

    def record(theirs, *inputs):
        logits.append(theirs(*inputs))
        return logits[0]

    with replaced(model, record):
        found = predict(model, image)
    height, width = logits[0].shape[-2:]
    return found.bboxes, found.scores, found.labels, logits[0].view(-1, height, width)


@torch.no_grad()
def detect(model, image):
    return Detector(model).eval()(image)


@pytest.mark.parametrize('size', SIZES)
@pytest.mark.parametrize('name', [*NAMES, 'boxinst'])
def test_graph_predicts_what_mmdet_does(name, size, models):
    image = make_image(size)
    *expected, theirs = predict_logits(models[name], image)
    *found, ours = detect(models[name], image)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-5)
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
    assert len(ours) > 20 and 0.1 < (ours > 0).float().mean() < 0.9


def leave_small_objects(logits):
    """Cut the masks down to one that is empty and objects all over the padded image."""
    height, width = logits.shape[1:]
    logits = logits.clamp(-1, 1) - 4
    for number, mask in enumerate(logits[1:]):
        row, column = divmod(number * 3, width)
        mask[row % height : row % height + 2, column : column + 3] += 6
    return logits


@pytest.mark.parametrize(
    ('size', 'scale'),
    [(SIZES[1], (1.0, 1.0)), ((150, 220), (0.5, 0.5)), ((53, 77), (110 / 77, 75 / 53))],
)
@pytest.mark.parametrize('small', [False, True])
@pytest.mark.parametrize('name', NAMES)
def test_masks_are_resized_as_mmdet_does(name, small, size, scale, models):
    model, image = models[name], make_image(SIZES[1])
    logits = detect(model, image)[-1]
    if small:
        logits = leave_small_objects(logits)
    settings = dict(Detector(model).detector.settings)
    with replaced(
        model, lambda theirs, *inputs: logits[None] if model.with_mask else logits
    ):
        expected = predict(model, image, size, scale).masks.numpy()
    masks = resize_masks(
        logits.numpy(),
        SIZES[1],
        size,
        scale,
        threshold=settings['mask_threshold'],
        **settings['mask_resizing'],
    )
    np.testing.assert_array_equal(masks, expected)
    if small:
        assert not masks[0].any() and masks.any((1, 2)).sum() > 20
        assert 0.001 < masks.mean() < 0.1
    else:
        assert 0.1 < masks.mean() < 0.9


@pytest.fixture
def open_file(models, monkeypatch):
    """Opens a detector's graph as if it were its file."""

    def open_graph(name):
        graph = build_graph(models[name])
        metadata = describe(None, graph, 'fp32')
        metadata['settings'] = read_settings(models[name], graph)
        session = GraphSession(graph, metadata)
        monkeypatch.setattr(inference, 'open_session', lambda path, **how: session)
        return inference.ExportedModel('any.onnx')

    return open_graph


@pytest.mark.parametrize('name', [*NAMES, 'solov2'])
def test_a_file_predicts_what_mmdet_does(name, models, open_file):
    pixels, size, scale = noise(SIZES[1]), (150, 220), (0.5, 0.5)
    image = pixels[0].transpose(1, 2, 0).astype(np.uint8)
    found = open_file(name).predict(image, size, scale)
    normalised = (torch.from_numpy(pixels) - GREY) / 60
    expected = predict(models[name], normalised, size, scale)
    assert set(found) == {'boxes', 'scores', 'labels', 'masks'}
    np.testing.assert_allclose(found['boxes'], expected.bboxes, rtol=0, atol=1e-3)
    np.testing.assert_allclose(found['scores'], expected.scores, rtol=0, atol=1e-4)
    # A pixel may be within rounding of the threshold.
    assert (found['masks'] != expected.masks.numpy()).mean() < 1e-4


def test_masks_of_a_picture_that_was_squeezed(open_file):
    """mmdet resizes those of RTMDet-Ins by the other edge's factor."""
    image, file = noise(SIZES[1])[0].transpose(1, 2, 0), open_file('rtmdet_ins')
    whole = file.predict(image.astype(np.uint8))['masks']
    wide = file.predict(image.astype(np.uint8), (75, 220))['masks']
    assert (wide[..., ::2] != whole).mean() < 0.05 < (whole[:, ::-1] != whole).mean()


@pytest.mark.parametrize('name', NAMES)
def test_graph_finds_nothing(name, models):
    nothing = changed(models[name], 'bbox_head.test_cfg.score_thr', 1.0)
    assert [len(output) for output in detect(nothing, make_image(SIZES[1]))] == [0] * 4


def test_a_mask_that_ends_before_the_picture_is_filled_up():
    """By mmdet's factors it may; mmdet gives a smaller mask."""
    logits = np.ones((1, 2, 3), np.float32)
    resizing = dict(head='RTMDetInsHead', strides=[2])
    masks = resize_masks(logits, (4, 6), (8, 12), (0.5, 0.6), **resizing)
    assert masks.shape == (1, 8, 12)
    assert masks[..., :10].all() and not masks[..., 10:].any()
    assert resize_masks(logits, (4, 6), (8, 12), None, **resizing).all()


def test_other_mask_heads_are_refused(models):
    other = changed(models['condinst'], 'mask_head', torch.nn.Identity())
    message = 'mask_head of this CondInst is Identity: .* CondInstMaskHead .*=backbone'
    with pytest.raises(UserError, match=message):
        Detector(other)


@pytest.mark.slow
@pytest.mark.parametrize('fmt', ['onnx', 'openvino'])
@pytest.mark.parametrize('name', ['rtmdet_ins', 'condinst'])
def test_exported_file_segments_what_the_graph_does(name, fmt, files):
    assert_file_detects_alike(*files.open(name, fmt))
