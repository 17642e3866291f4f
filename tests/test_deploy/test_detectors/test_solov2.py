"""SOLOv2's graph against mmdet's own prediction, in PyTorch and exported."""

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

from mmrapidnet.deploy.image_masks import resize_masks
from mmrapidnet.utils.errors import UserError


@pytest.fixture(scope='module')
def model():
    return build('solov2')


@torch.no_grad()
def assert_predicts_alike(model, image, size=None, scale=(1.0, 1.0)):
    """Compare all but the order of equal scores; give what mmdet found."""
    graph = Detector(model).eval()
    scores, labels, logits = graph(image)
    expected = predict(model, image, size or tuple(image.shape[2:]), scale)
    assert torch.equal(labels, expected.labels)
    torch.testing.assert_close(scores, expected.scores, rtol=0, atol=1e-5)
    settings = graph.detector.settings
    masks = resize_masks(
        logits.numpy(),
        tuple(image.shape[2:]),
        tuple(expected.masks.shape[1:]),
        scale,
        threshold=settings['mask_threshold'],
        **settings['mask_resizing'],
    )
    # A pixel may be within rounding of the threshold.
    assert (masks != expected.masks.numpy()).mean() < 1e-4
    return expected


@pytest.mark.parametrize(
    ('image', 'size'), [(SIZES[0], None), (SIZES[1], None), (SIZES[1], (150, 220))]
)
def test_graph_predicts_what_mmdet_does(image, size, model):
    scale = (0.5, 0.5) if size else (1.0, 1.0)
    found = assert_predicts_alike(model, make_image(image), size, scale)
    assert len(found) > 20 and found.scores.std() > 0.02
    assert 0.1 < found.masks.float().mean() < 0.9


@pytest.mark.parametrize(
    ('name', 'value'),
    [
        ('score_thr', 0.8),
        ('mask_thr', 0.6),
        ('nms_pre', 15),
        ('filter_thr', 0.3),
        ('kernel', 'linear'),
        ('sigma', 0.5),
        ('max_per_img', 9),
    ],
)
def test_graph_honours_the_options(name, value, model):
    other = changed(model, f'mask_head.test_cfg.{name}', value)
    found = assert_predicts_alike(other, make_image(SIZES[1]))
    before = predict(model, make_image(SIZES[1]))
    assert not torch.equal(found.scores, before.scores), 'no effect here'


@pytest.mark.parametrize(('name', 'value'), [('score_thr', 1.0), ('filter_thr', 1.0)])
def test_graph_finds_nothing(name, value, model):
    nothing = changed(model, f'mask_head.test_cfg.{name}', value)
    with torch.no_grad():
        outputs = Detector(nothing)(make_image(SIZES[1]))
    assert [output.shape for output in outputs] == [(0,), (0,), (0, 24, 32)]


@pytest.mark.parametrize(
    ('path', 'value', 'message'),
    [
        ('mask_head.with_dcn', True, 'with_dcn of this SOLOv2 is True: .*=backbone'),
        ('mask_head', torch.nn.Identity(), 'mask_head of this SOLOv2 is Identity: '),
    ],
)
def test_what_the_graph_cannot_say_is_refused(path, value, message, model):
    with pytest.raises(UserError, match=message):
        Detector(changed(model, path, value))


@pytest.mark.slow
@pytest.mark.parametrize('fmt', ['onnx', 'openvino'])
def test_exported_file_segments_what_the_graph_does(fmt, files):
    # A pixel at the threshold of its mask counts in the score: one of about a hundred.
    assert_file_detects_alike(*files.open('solov2', fmt), tolerance=1e-2)
