"""OpenVINO: its precisions, and what its networks are compiled for."""

import openvino
import pytest
import torch
from helpers.exported_files import ODD, SIZE, difference, make_graph, picture

from mmrapidnet.deploy.accuracy_control import AccuracyControl
from mmrapidnet.deploy.formats import check_supported, load_format, open_session
from mmrapidnet.deploy.metadata import describe
from mmrapidnet.utils.env import has_bf16
from mmrapidnet.utils.errors import UserError


@pytest.mark.parametrize(
    ('precision', 'low', 'high'), [('fp16', 1e-5, 2e-3), ('bf16', 0, 2e-2)]
)
def test_openvino_precisions(precision, low, high, write):
    path = write('segmenter', 'openvino', precision)
    session = open_session(path, threads=1)
    found = difference(session, 'segmenter', picture(*SIZE))
    assert low <= found < high
    full = write('segmenter', 'openvino').with_suffix('.bin').stat().st_size
    stored = path.with_suffix('.bin').stat().st_size / full
    assert stored == pytest.approx(0.5 if precision == 'fp16' else 1, abs=0.05)


@pytest.fixture(scope='session')
def int8(write):
    """A segmenter of 8 bits, for any size."""
    return write('segmenter', 'openvino', 'int8', images=2)


def weights_of_8_bits(path):
    return [
        node.data.astype(int)
        for node in openvino.Core().read_model(path).get_ops()
        if node.get_type_name() == 'Constant'
        and node.get_element_type() == openvino.Type.i8
    ]


def test_openvino_int8(int8, write):
    session = open_session(int8, threads=1)
    assert session.metadata['versions'].keys() >= {'torch', 'openvino', 'nncf'}
    found = difference(session, 'segmenter', picture(*ODD, seed=99))
    assert 1e-4 < found < 0.1
    full = write('segmenter', 'openvino').with_suffix('.bin').stat().st_size
    assert int8.with_suffix('.bin').stat().st_size < 0.5 * full
    # Of 7 bits, so that no processor has to saturate; NNCF leaves depthwise ones, which
    # have five dimensions.
    weights = [w for w in weights_of_8_bits(int8) if w.ndim == 4]
    assert len(weights) > 20 and max(abs(w).max() for w in weights) <= 64

    with pytest.raises(UserError, match='int8 needs images to calibrate on'):
        write('segmenter', 'openvino', 'int8')
    with pytest.raises(UserError, match='no decoder in int8: .* fp16, bf16$'):
        check_supported(load_format('openvino'), 'decoder', 'int8')


@pytest.mark.slow
def test_int8_of_the_dense_part_of_a_detector(write):
    path = write('dense', 'openvino', 'int8', images=2)
    session = open_session(path, threads=1)
    assert 1e-4 < difference(session, 'dense', picture(*SIZE, seed=9)) < 0.3


@pytest.fixture
def control(tmp_path):
    """Writes a pyramid in int8 that is held to a metric: likeness to PyTorch's."""
    graph, images = make_graph('pyramid'), [picture(*SIZE, seed=n) for n in range(2)]

    def likeness(run, numbers):
        with torch.no_grad():
            expected = [graph.module(torch.from_numpy(images[n])) for n in numbers]
        off = 0.0
        for number, tensors in zip(numbers, expected, strict=True):
            for array, tensor in zip(
                run(images[number]).values(), tensors, strict=True
            ):
                wrong = (torch.from_numpy(array) - tensor).norm() / tensor.norm()
                off += float(wrong) / len(numbers)
        return 100 * (1 - off)

    def write(max_drop, measure=likeness):
        path = tmp_path / f'{max_drop}.xml'
        metadata = describe(None, graph, 'int8', size=SIZE)
        added = load_format('openvino').write(
            graph,
            torch.from_numpy(images[0]),
            path,
            metadata,
            images,
            AccuracyControl(measure, len(images), max_drop),
        )
        return path, added['accuracy_control']

    return write


@pytest.mark.slow
def test_int8_that_is_held_to_a_metric(control):
    """As long as more is lost than allowed, a layer gets its float numbers back."""
    path, plain = control(100.0)
    assert plain['ignored'] == []
    assert plain['float'] == pytest.approx(100, abs=1e-2)
    lost = plain['float'] - plain['int8']
    assert lost > 0.1
    held, found = control(0.7 * lost)
    assert found['float'] - found['int8'] <= 0.7 * lost
    assert found['ignored'] and found['images'] == 2
    assert len(weights_of_8_bits(held)) < len(weights_of_8_bits(path))
    metadata = open_session(held, threads=1).metadata
    assert metadata['accuracy_control'] == found


@pytest.mark.slow
def test_int8_that_loses_too_much_whatever_is_in_float(control):
    found = iter([100.0] * 2)
    with pytest.raises(UserError, match='int8 loses 50.00 points .* 1.0 are allowed'):
        control(1.0, lambda run, numbers: next(found, 50.0))


@pytest.fixture
def compiled(monkeypatch):
    """The networks that sessions compile, in their order."""
    writer, found = load_format('openvino'), []
    compile_once = writer._compile

    def spy(*arguments):
        request = compile_once(*arguments)
        found.append(request.get_compiled_model())
        return request

    monkeypatch.setattr(writer, '_compile', spy)
    return found


@pytest.mark.parametrize('precision', ['fp32', 'fp16', 'bf16'])
def test_openvino_is_told_how_to_compute(precision, write, compiled):
    """By itself it takes bfloat16 wherever the CPU has it."""

    path = write('segmenter', 'openvino', precision)
    open_session(path, threads=1)
    (network,) = compiled
    assert network.get_property('INFERENCE_NUM_THREADS') == 1
    assert str(network.get_property('PERFORMANCE_HINT')).endswith('LATENCY')
    # What OpenVINO makes of a wish for bfloat16 depends on the processor.
    wish = 'bf16' if precision == 'bf16' and has_bf16() else 'f32'
    hint = {'INFERENCE_PRECISION_HINT': wish}
    expected = openvino.Core().compile_model(path, 'CPU', hint)
    for name in hint:
        assert network.get_property(name) == expected.get_property(name)
    if precision != 'bf16':
        assert network.get_property('INFERENCE_PRECISION_HINT') == openvino.Type.f32


def test_openvino_of_one_size_keeps_to_it(write, compiled):
    open_session(write('pyramid', 'openvino'), threads=1, size=SIZE)
    assert list(compiled[0].input().shape) == [1, 3, *SIZE]


def test_openvino_compiles_once_for_any_shape(write, compiled):
    session = open_session(write('pyramid', 'openvino'), threads=1)
    for size in (SIZE, ODD):
        session(picture(*size))
    assert [network.input().partial_shape.is_dynamic for network in compiled] == [True]


def test_int8_never_runs_for_any_shape(int8, compiled, monkeypatch):
    """But for each in turn; a few are kept."""
    writer = load_format('openvino')
    monkeypatch.setattr(writer, 'COMPILED', 2)
    session = open_session(int8, threads=1)
    assert session.metadata['input']['size'] is None
    assert not compiled
    shapes = [(1, *SIZE), (1, *ODD), (2, *SIZE), (2, *SIZE), (1, *ODD), (1, *SIZE)]
    for batch, height, width in shapes:
        image = picture(height, width, batch)
        assert 1e-4 < difference(session, 'segmenter', image) < 0.1
    # The fourth and the fifth were kept, the sixth had to make way.
    asked = [[batch, 3, *size] for batch, *size in (*shapes[:3], shapes[5])]
    assert [list(network.input().shape) for network in compiled] == asked
    open_session(int8, threads=1, size=ODD)
    assert list(compiled[-1].input().shape) == [1, 3, *ODD]
