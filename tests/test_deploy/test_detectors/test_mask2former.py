"""Mask2Former's graph against mmdet's own prediction, in PyTorch and exported."""

import numpy as np
import pytest
import torch
from helpers import tiny_mask2former
from helpers.tiny_detectors import SIZES, changed, noise
from helpers.tiny_models import GraphSession
from mmdet.structures import DetDataSample
from torch import nn
from torch.nn import functional as F
from torchvision.ops import masks_to_boxes

from mmrapidnet.deploy import inference
from mmrapidnet.deploy.formats import SUFFIXES, load_format
from mmrapidnet.deploy.graphs import build_graph
from mmrapidnet.deploy.image_masks import finish_queries
from mmrapidnet.deploy.inference import read_settings
from mmrapidnet.deploy.isolated import IsolatedSession
from mmrapidnet.deploy.metadata import describe, from_text, to_text
from mmrapidnet.utils.errors import UserError

CLASSES, FOUND = tiny_mask2former.CLASSES, tiny_mask2former.FOUND
WIDER = (50, 131)


@pytest.fixture(scope='module')
def model():
    return tiny_mask2former.build(tiny_mask2former.load())


@pytest.fixture
def open_file(monkeypatch):
    """Opens the graph of a model as if it were its file."""

    def open_graph(model):
        graph = build_graph(model)
        metadata = describe(None, graph, 'fp32')
        metadata['settings'] = read_settings(model, graph)
        session = GraphSession(graph, from_text(to_text(metadata), 'a file'))
        monkeypatch.setattr(inference, 'open_session', lambda path, **how: session)
        return inference.ExportedModel('any.onnx')

    return open_graph


def predict(model, pixels, size):
    """What mmdet predicts for a picture of another size, by descending score."""
    shape = pixels.shape[:2]
    scale = (shape[1] / size[1], shape[0] / size[0])
    metainfo = dict(img_shape=shape, ori_shape=size, scale_factor=scale)
    image = torch.from_numpy(pixels).permute(2, 0, 1)
    sample = DetDataSample(metainfo=metainfo)
    with torch.no_grad():
        (found,) = model.test_step(dict(inputs=[image], data_samples=[sample]))
    found = found.pred_instances
    return found[found.scores.argsort(descending=True, stable=True)]


def assert_predicts_alike(model, file, shape, size):
    pixels = noise(shape)[0].transpose(1, 2, 0).astype(np.uint8)
    found, expected = file.predict(pixels, size), predict(model, pixels, size)
    order = np.argsort(-found['scores'], kind='stable')
    found = {name: value[order] for name, value in found.items()}
    assert set(found) == {'boxes', 'scores', 'labels', 'masks'}
    np.testing.assert_allclose(found['scores'], expected.scores, rtol=0, atol=1e-5)
    np.testing.assert_array_equal(found['labels'], expected.labels)
    # A pixel may be within rounding of the threshold.
    assert (found['masks'] != expected.masks.numpy()).mean() < 1e-4
    assert np.abs(found['boxes'] - expected.bboxes.numpy()).max() <= 1
    return expected


@pytest.mark.parametrize(
    ('shape', 'size'),
    [
        (SIZES[0], SIZES[0]),
        (SIZES[1], SIZES[1]),
        (SIZES[1], (150, 220)),
        (WIDER, SIZES[1]),
    ],
)
def test_a_file_predicts_what_mmdet_does(shape, size, model, open_file):
    found = assert_predicts_alike(model, open_file(model), shape, size)
    # Worth comparing: several classes, masks and scores.
    assert len(found) == FOUND and len(found.labels.unique()) > 2
    assert 0.1 < found.masks.float().mean() < 0.9 and found.scores.std() > 0.02


@pytest.mark.parametrize('limit', [3, 1000])
def test_as_many_as_the_config_says_or_there_are(limit, model, open_file):
    path = 'panoptic_fusion_head.test_cfg.max_per_image'
    most = CLASSES * tiny_mask2former.QUERIES
    file = open_file(changed(model, path, limit))
    # mmdet asks for no more than there are.
    other = changed(model, path, min(limit, most))
    assert len(assert_predicts_alike(other, file, SIZES[1], SIZES[1])) == min(
        limit, most
    )


@pytest.mark.parametrize('things', [3, 0])
def test_stuff_is_left_out(things, model, open_file):
    other = changed(model, 'panoptic_head.num_things_classes', things)
    other.panoptic_head.num_stuff_classes = CLASSES - things
    other.panoptic_fusion_head.num_things_classes = things
    other.panoptic_fusion_head.num_stuff_classes = CLASSES - things
    file = open_file(other)
    if things:
        found = assert_predicts_alike(other, file, SIZES[1], SIZES[1])
        assert 0 < len(found) < FOUND and found.labels.max() == things - 1
    else:
        found = file.predict(np.zeros((*SIZES[1], 3), np.uint8))
        assert [len(value) for value in found.values()] == [0] * 4
        assert found['masks'].shape == (0, *SIZES[1])


@pytest.mark.parametrize('size', [(21, 30), (40, 61), (13, 17)])
def test_small_objects_are_those_of_the_whole_map(size):
    """In corners, on edges, partly and wholly in the padding of an image of 21 x 30."""
    places = [(0, 0), (3, 4), (5, 0), (0, 7), (4, 6), (5, 7), (6, 8)]
    logits = np.full((len(places), 8, 10), -8.0, np.float32)
    for mask, (row, column) in zip(logits, places):
        mask[row : row + 2, column : column + 2] = (5.0, 3.0), (2.0, 6.0)
    found = finish_queries(logits, np.ones(len(places)), (21, 30), size, 4)
    larger = F.interpolate(torch.from_numpy(logits)[None], (32, 40), mode='bilinear')
    values = F.interpolate(larger[..., :21, :30], size, mode='bilinear')[0]
    masks = values > 0
    np.testing.assert_array_equal(found['masks'], masks)
    scores = (values.sigmoid() * masks).sum((1, 2)) / (masks.sum((1, 2)) + 1e-6)
    np.testing.assert_allclose(found['scores'], scores, rtol=1e-5)
    visible = masks.flatten(1).any(1)
    boxes = torch.zeros(len(masks), 4)
    boxes[visible] = masks_to_boxes(masks[visible]) + torch.tensor([0, 0, 1, 1])
    np.testing.assert_array_equal(found['boxes'], boxes)
    assert visible[:2].all() and not visible[-1]


def test_an_empty_mask():
    """Has mmdet's box of zeros, and no score."""
    logits = np.full((2, 2, 3), -20.0, np.float32)
    logits[1, 1, 1:] = 20
    found = finish_queries(logits, np.float32([0.5, 0.25]), (8, 12), (8, 12), 4)
    np.testing.assert_array_equal(found['boxes'], [[0, 0, 0, 0], [4, 4, 12, 8]])
    np.testing.assert_array_equal(found['masks'].sum(axis=(1, 2)) > 0, [False, True])
    assert found['scores'][0] == 0 and 0.2 < found['scores'][1] < 0.25


@pytest.mark.parametrize(
    ('path', 'value', 'message'),
    [
        (
            'panoptic_head.pixel_decoder',
            nn.Identity(),
            'pixel_decoder of this Mask2Former is Identity: .* MSDeformAttnPixelD',
        ),
        (
            'panoptic_head',
            nn.Identity(),
            'panoptic_head of this Mask2Former is Identity: .* Mask2FormerHead only, '
            r'to onnx and openvino; else .* part \(part=backbone\), to any format',
        ),
        ('data_preprocessor.pad_size_divisor', 1, 'pad_size_divisor of .* is 1: '),
        (
            'panoptic_fusion_head.test_cfg.panoptic_on',
            True,
            'gives instances alone: set model.test_cfg.panoptic_on=False',
        ),
        ('panoptic_fusion_head.test_cfg.instance_on', False, 'instances alone'),
    ],
)
def test_what_the_graph_cannot_say_is_refused(path, value, message, model):
    with pytest.raises(UserError, match=message) as error:
        build_graph(changed(model, path, value))
    assert '\n' not in str(error.value)


@pytest.mark.slow
def test_exported_files_segment_what_the_graph_does(model, tmp_path, monkeypatch):
    graph = build_graph(model)
    metadata = describe(None, graph, 'fp32')
    writer = load_format('onnx').onnx_model
    converted = writer.convert(graph, metadata['input'])
    domains = {node.domain for node in converted.graph}
    assert domains == {''}, 'standard operators only'
    monkeypatch.setattr(writer, 'convert', lambda *_: converted)
    for fmt in ('onnx', 'openvino'):
        path = tmp_path / f'queries{SUFFIXES[fmt]}'
        load_format(fmt).write(graph, None, path, metadata)
        run = IsolatedSession(path, threads=1)
        for size in (*SIZES, WIDER):
            image = noise(size)
            with torch.no_grad():
                expected = graph.module(torch.from_numpy(image))
            for ours, theirs in zip(run(image).values(), expected, strict=True):
                np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)
