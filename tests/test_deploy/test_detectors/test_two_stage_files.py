"""Files of detectors in two stages against their graphs: standard operators alone."""

from copy import deepcopy
from functools import cache

import numpy as np
import onnx
import onnxruntime
import openvino
import pytest
import torch
from helpers.tiny_detectors import SIZES, Detector, make_image
from helpers.tiny_two_stage import (
    build,
    in_a_cascade,
    list_stages,
    panoptic,
    spread,
    without_masks,
)
from torch import nn

from mmrapidnet.deploy.detectors import build_detector
from mmrapidnet.deploy.ops import nms, onnx_translations, roi_align, top

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
