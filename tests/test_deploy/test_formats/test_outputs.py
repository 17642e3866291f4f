"""Files give what PyTorch gives, at the size they were exported at and at others."""

import itertools
import json
import sys
from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import tiny_models
from mmengine.config import Config
from mmengine.model import ImgDataPreprocessor
from mmengine.registry import MODELS, DefaultScope
from torch import nn
from torch.nn import functional as F

from dev.benchmark.peers import randomize_norms
from mmrapidnet.deploy import formats, fuse
from mmrapidnet.deploy.formats import (
    format_of,
    load_format,
    onnx_model,
    open_session,
)
from mmrapidnet.deploy.graphs import Graph, build_graph
from mmrapidnet.deploy.metadata import check_config, describe, hash_model
from mmrapidnet.models import MobileViG
from mmrapidnet.utils.env import has_bf16
from mmrapidnet.utils.errors import UserError

SIZE = (64, 96)
ODD = (70, 101)  # no multiple of a stride


class Pyramid(nn.Module):
    """Two maps, the finer with the coarser on top: quick to convert."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.fine = nn.Conv2d(3, 8, 3, 2, 1)
        self.depthwise = nn.Conv2d(8, 8, 3, 1, 1, groups=8)
        self.coarse = nn.Conv2d(8, 8, 3, 2, 1)

    def forward(self, image):
        fine = F.gelu(self.depthwise(F.gelu(self.fine(image / 64 - 2))))
        coarse = self.coarse(fine)
        return fine + F.interpolate(coarse, fine.shape[2:]), coarse


def make_mobilevig():
    model = nn.Module()
    model.data_preprocessor = ImgDataPreprocessor([120] * 3, [60] * 3, bgr_to_rgb=True)
    arch = dict(channels=(8, 8, 8, 8), blocks=(1, 1, 1, 1))
    model.backbone = randomize_norms(MobileViG(arch=arch, layer_scale_init_value=0.3))
    return model.eval()


def make_model(cfg):
    """A small model with random statistics, blocks far from the identity."""
    cfg = deepcopy(cfg)
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        torch.manual_seed(0)
        cfg.model.setdefault('data_preprocessor', cfg.get('data_preprocessor'))
        model = MODELS.build(cfg.model)
    for name, weight in model.named_parameters():
        if name.endswith('.scale'):
            weight.data.uniform_(0.1, 0.5)
    return fuse(randomize_norms(model).eval())


@pytest.fixture(scope='session')
def configs(tmp_path_factory):
    folder = tmp_path_factory.mktemp('configs')
    return {
        kind: tiny_models.load(kind, folder, folder) for kind in tiny_models.CONFIGS
    }


@pytest.fixture(scope='session')
def graphs(configs):
    return {
        'pyramid': Graph('backbone', Pyramid().eval(), ('feature0', 'feature1')),
        'mobilevig': build_graph(make_mobilevig(), 'backbone'),
        'classifier': build_graph(make_model(configs['classifier'])),
        'segmenter': build_graph(make_model(configs['segmenter'])),
        'dense': build_graph(make_model(configs['detector']), 'dense'),
    }


@pytest.fixture(scope='session')
def write(graphs, tmp_path_factory):
    """Writes a graph once a session, converting to ONNX once for all its files."""
    folder, converted, written = tmp_path_factory.mktemp('exported'), {}, {}
    convert = onnx_model.convert

    def convert_once(graph, size, channels):
        if (id(graph), size) not in converted:
            converted[id(graph), size] = convert(graph, size, channels)
        return converted[id(graph), size]

    def write_once(name, fmt, precision='fp32', size=SIZE, **options):
        key = f'{name}-{fmt}-{precision}-{size[0]}-{len(options)}'
        if key not in written:
            writer = load_format(fmt)
            path = written[key] = folder / f'{key}{writer.SUFFIX}'
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(onnx_model, 'convert', convert_once)
                writer.write(
                    graphs[name],
                    torch.zeros(1, 3, *size),
                    path,
                    describe(None, graphs[name], precision),
                    precision=precision,
                    **options,
                )
        return written[key]

    return write_once


def picture(height, width, batch=1, seed=0):
    """Blobs of colour on which neighbouring pixels agree, as they do in a picture."""
    rng = np.random.default_rng(seed)
    small = torch.tensor(rng.uniform(0, 255, (batch, 3, 6, 7)), dtype=torch.float32)
    large = F.interpolate(small, (height, width), mode='bilinear').round()
    return large.numpy()


def differences(session, graph, image):
    """Of each output the norm of the difference over that of PyTorch's."""
    got = session(image)
    with torch.no_grad():
        expected = graph.module(torch.from_numpy(image))
    assert list(got) == list(graph.outputs) == session.metadata['outputs']
    found = []
    for array, tensor in zip(got.values(), expected, strict=True):
        tensor = tensor.numpy()
        assert array.shape == tensor.shape and array.dtype == tensor.dtype
        found.append(np.linalg.norm(array - tensor) / np.linalg.norm(tensor))
    return max(found)


@pytest.mark.parametrize(
    ('name', 'fmt'),
    [
        *itertools.product(('segmenter', 'pyramid'), ('onnx', 'openvino', 'ncnn')),
        ('classifier', 'onnx'),
        ('classifier', 'ncnn'),
    ],
)
def test_any_size(name, fmt, write, graphs, capfd):
    path = write(name, fmt)
    session = open_session(path, threads=1)
    assert session.metadata['input']['size'] is None
    for height, width in (SIZE, ODD, (65, 33)):
        assert differences(session, graphs[name], picture(height, width)) < 5e-6
    captured = capfd.readouterr()
    assert not captured.out and not captured.err


@pytest.mark.parametrize('fmt', ['onnx', 'openvino'])
def test_any_number_of_images(fmt, write, graphs):
    session = open_session(write('segmenter', fmt), threads=1, size=SIZE)
    assert session.metadata['input']['batch'] is None
    for batch in (3, 1):
        assert differences(session, graphs['segmenter'], picture(*SIZE, batch)) < 5e-6


@pytest.mark.parametrize('fmt', ['onnx', 'openvino', 'ncnn'])
def test_dense_part_pads_inside(fmt, write, graphs):
    """ncnn has the numbers of one size; the others compute them."""
    session = open_session(write('dense', fmt, size=ODD), threads=1)
    fixed = session.metadata['input']['size']
    assert fixed == (list(ODD) if fmt == 'ncnn' else None)
    for size in (ODD,) if fixed else (ODD, SIZE):
        assert differences(session, graphs['dense'], picture(*size)) < 5e-6
    with pytest.raises(UserError, match='takes 1 image at a time, not 2'):
        session(picture(*ODD, batch=2))


@pytest.mark.parametrize('fmt', ['onnx', 'openvino', 'ncnn'])
def test_what_compares_all_pixels_has_one_size(fmt, write, graphs):
    session = open_session(write('mobilevig', fmt), threads=1)
    assert session.metadata['input']['size'] == [64, 96]
    assert differences(session, graphs['mobilevig'], picture(*SIZE)) < 5e-6
    with pytest.raises(UserError, match='takes images of 64x96 only .*not of 70x101'):
        session(picture(*ODD))
    with pytest.raises(UserError, match='takes images of 64x96 only'):
        open_session(write('mobilevig', fmt), size=ODD)


@pytest.mark.parametrize('fmt', ['onnx', 'openvino', 'ncnn'])
def test_a_size_can_be_fixed(fmt, write, graphs):
    session = open_session(write('pyramid', fmt, size=ODD, fixed_size=True), threads=1)
    assert session.metadata['input']['size'] == list(ODD)
    assert differences(session, graphs['pyramid'], picture(*ODD)) < 5e-6
    with pytest.raises(UserError, match='takes images of 70x101 only'):
        session(picture(*SIZE))


@pytest.mark.parametrize('fmt', ['onnx', 'openvino', 'ncnn'])
def test_images_may_lie_in_memory_as_they_like(fmt, write, graphs):
    """As a picture read by OpenCV does, once its channels come first."""
    session = open_session(write('pyramid', fmt), threads=1)
    rows = np.ascontiguousarray(picture(*ODD)[0].transpose(1, 2, 0))
    image = rows.transpose(2, 0, 1)[None]
    assert not image.flags.c_contiguous
    assert differences(session, graphs['pyramid'], image) < 5e-6


def test_onnx_file(write, graphs):
    """Standard operators of one opset, checked shapes, everything in one file."""
    import onnx

    path = write('segmenter', 'onnx')
    model = onnx.load(path, load_external_data=False)
    onnx.checker.check_model(model, full_check=True)
    assert [(opset.domain, opset.version) for opset in model.opset_import] == [('', 20)]
    assert {node.domain for node in model.graph.node} == {''}
    assert not any(t.external_data for t in model.graph.initializer)
    assert not list(path.parent.glob(f'{path.name}.*'))
    (image,) = model.graph.input
    shape = [d.dim_param or d.dim_value for d in image.type.tensor_type.shape.dim]
    assert (image.name, shape) == ('image', ['batch', 3, 'height', 'width'])
    assert [output.name for output in model.graph.output] == ['logits']
    weights = sum(p.numel() for p in graphs['segmenter'].module.parameters()) * 4
    assert path.stat().st_size > weights


@pytest.mark.parametrize(
    ('precision', 'low', 'high'), [('fp16', 1e-5, 2e-3), ('bf16', 0, 2e-2)]
)
def test_openvino_precisions(precision, low, high, write, graphs):
    path = write('segmenter', 'openvino', precision)
    session = open_session(path, threads=1)
    found = differences(session, graphs['segmenter'], picture(*SIZE))
    assert low <= found < high
    full = write('segmenter', 'openvino').with_suffix('.bin').stat().st_size
    stored = path.with_suffix('.bin').stat().st_size / full
    assert stored == pytest.approx(0.5 if precision == 'fp16' else 1, abs=0.05)


@pytest.fixture(scope='session')
def int8(write):
    """A segmenter of 8 bits, for any size."""
    images = [picture(*SIZE, seed=seed) for seed in range(8)]
    return write('segmenter', 'openvino', 'int8', calibration=iter(images))


def weights_of_8_bits(path):
    import openvino

    return [
        node.data.astype(int)
        for node in openvino.Core().read_model(path).get_ops()
        if node.get_type_name() == 'Constant'
        and node.get_element_type() == openvino.Type.i8
    ]


def test_openvino_int8(int8, write, graphs):
    session = open_session(int8, threads=1)
    assert session.metadata['versions'].keys() >= {'torch', 'openvino', 'nncf'}
    found = differences(session, graphs['segmenter'], picture(*ODD, seed=99))
    assert 1e-4 < found < 0.1
    full = write('segmenter', 'openvino').with_suffix('.bin').stat().st_size
    assert int8.with_suffix('.bin').stat().st_size < 0.5 * full
    # Of 7 bits, so that no processor has to saturate; NNCF leaves depthwise ones, which
    # have five dimensions.
    weights = [w for w in weights_of_8_bits(int8) if w.ndim == 4]
    assert len(weights) > 20 and max(abs(w).max() for w in weights) <= 64

    with pytest.raises(UserError, match='int8 needs images to calibrate on'):
        write('segmenter', 'openvino', 'int8')
    detector, writer = Graph('detector', nn.Identity(), ()), load_format('openvino')
    with pytest.raises(UserError, match='no detector in int8: .* fp16, bf16$'):
        writer.write(detector, None, None, {}, precision='int8', calibration=[0])


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
    import openvino

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


def test_int8_never_runs_for_any_shape(int8, graphs, compiled, monkeypatch):
    """But for each in turn; a few are kept."""
    writer = load_format('openvino')
    monkeypatch.setattr(writer, 'COMPILED', 2)
    session = open_session(int8, threads=1)
    assert session.metadata['input']['size'] is None
    assert not compiled
    shapes = [(1, *SIZE), (1, *ODD), (2, *SIZE), (2, *SIZE), (1, *ODD), (1, *SIZE)]
    for batch, height, width in shapes:
        image = picture(height, width, batch)
        assert 1e-4 < differences(session, graphs['segmenter'], image) < 0.1
    # The fourth and the fifth were kept, the sixth had to make way.
    asked = [[batch, 3, *size] for batch, *size in (*shapes[:3], shapes[5])]
    assert [list(network.input().shape) for network in compiled] == asked
    open_session(int8, threads=1, size=ODD)
    assert list(compiled[-1].input().shape) == [1, 3, *ODD]


@pytest.mark.parametrize('fmt', ['onnx', 'openvino', 'ncnn'])
def test_a_file_opened_for_one_size(fmt, write, graphs):
    session = open_session(write('pyramid', fmt), threads=1, size=ODD)
    assert differences(session, graphs['pyramid'], picture(*ODD)) < 5e-6
    with pytest.raises(UserError, match='was opened for images of 70x101 .*not of 64'):
        session(picture(*SIZE))


def read_coreml(path):
    import coremltools

    spec = coremltools.utils.load_spec(str(path))
    program = spec.mlProgram.functions['main']
    (block,) = program.block_specializations.values()
    return spec, [operation.type for operation in block.operations]


def test_coreml_structure(write, graphs, capfd):
    """Core ML does not run here: what was written is what is checked."""
    path = write('segmenter', 'coreml', 'fp16', size=ODD)
    spec, operations = read_coreml(path)
    (image,) = spec.description.input
    assert (image.name, image.type.WhichOneof('Type')) == ('image', 'imageType')
    assert (image.type.imageType.height, image.type.imageType.width) == ODD
    assert image.type.imageType.colorSpace == image.type.imageType.BGR
    assert not image.type.imageType.HasField('imageSizeRange')
    (logits,) = spec.description.output
    assert logits.name == 'logits'
    assert list(logits.type.multiArrayType.shape) == [1, 7, 18, 26]
    convolutions = sum(
        isinstance(m, nn.Conv2d) for m in graphs['segmenter'].module.modules()
    )
    assert operations.count('conv') == convolutions
    assert spec.specificationVersion == 7  # iOS 16, macOS 13
    metadata = load_format('coreml').read_metadata(path)
    assert metadata['input']['size'] == list(ODD)
    assert metadata['input']['batch'] == 1
    assert metadata['precision'] == 'fp16'
    captured = capfd.readouterr()
    assert not captured.out and not captured.err

    with pytest.raises(UserError, match='cannot be run on Linux'):
        open_session(path)


def test_coreml_size_range(write):
    """Where nothing is enlarged to the size of another map."""
    spec, _ = read_coreml(write('classifier', 'coreml'))
    size = spec.description.input[0].type.imageType.imageSizeRange
    assert (size.heightRange.lowerBound, size.heightRange.upperBound) == (32, 4096)
    assert size.widthRange == size.heightRange
    metadata = load_format('coreml').read_metadata(write('classifier', 'coreml'))
    assert metadata['input']['size'] is None


def test_ncnn_file(write, graphs):
    """Names of our own, layers of ncnn's own, and nothing else beside."""
    path = write('dense', 'ncnn', size=ODD)
    stem = path.name.removesuffix('.param')
    assert sorted(p.name for p in path.parent.glob(f'{stem}*')) == [
        f'{stem}.bin',
        f'{stem}.json',
        f'{stem}.param',
    ]
    layers = [line.split() for line in path.read_text().splitlines()[2:]]
    assert all(layer[0].isalnum() for layer in layers)
    assert layers[0][0] == 'Input' and layers[0][4] == 'image'
    blobs = {blob for layer in layers for blob in layer}
    assert blobs >= set(graphs['dense'].outputs)


def test_ncnn_fp16(write, graphs):
    path = write('pyramid', 'ncnn', 'fp16')
    full = write('pyramid', 'ncnn')
    found = differences(open_session(path, threads=1), graphs['pyramid'], picture(*ODD))
    assert 1e-6 < found < 5e-3
    sizes = [p.with_suffix('.bin').stat().st_size for p in (path, full)]
    assert sizes[0] < 0.7 * sizes[1]


class Unheard(nn.Module):
    """An operator that no runtime has."""

    def forward(self, image):
        return (torch.special.modified_bessel_i0(image),)


@pytest.mark.parametrize('fmt', ['onnx', 'coreml', 'ncnn'])
def test_a_model_that_a_format_cannot_hold(fmt, tmp_path, capfd):
    graph = Graph('backbone', Unheard().eval(), ('feature0',))
    writer = load_format(fmt)
    path = tmp_path / f'unheard{writer.SUFFIX}'
    with pytest.raises(UserError, match=f'^{fmt} cannot hold this model: .') as error:
        writer.write(
            graph, torch.zeros(1, 3, *SIZE), path, describe(None, graph, 'fp32')
        )
    assert '\n' not in str(error.value)
    assert not list(tmp_path.iterdir())
    captured = capfd.readouterr()
    assert not captured.out and not captured.err


def test_metadata(configs, tmp_path):
    cfg = configs['segmenter']
    graph = build_graph(make_model(cfg))
    weights = tmp_path / 'weights.pth'
    meta = {'dataset_meta': {'classes': ('a', 'b'), 'palette': np.eye(2, 3)}}
    torch.save({'state_dict': {}, 'meta': meta}, weights)
    described = describe(cfg, graph, 'fp32', str(weights), (64, 96))
    assert json.loads(json.dumps(described)) == described
    versions, checkpoint = described.pop('versions'), described.pop('checkpoint')
    assert versions == {'mmrapidnet': '0.1.0', 'torch': torch.__version__}
    assert checkpoint['name'] == 'weights.pth' and len(checkpoint['sha256']) == 64
    assert described == {
        'version': 1,
        'kind': 'segmenter',
        'outputs': ['logits'],
        'input': {
            'name': 'image',
            'channels': 3,
            'channel_order': 'bgr',
            'range': [0, 255],
            'size': [64, 96],
            'batch': None,
            'multiple': 1,
        },
        'precision': 'fp32',
        'fused': True,
        'scope': 'mmseg',
        'config': 'tiny_segmenter.py',
        'model_sha256': hash_model(cfg),
        'classes': ['a', 'b'],
        'palette': [[1, 0, 0], [0, 1, 0]],
    }
    # Without a checkpoint that says otherwise, the labels are the data set's.
    labels = describe(cfg, graph, 'fp32')
    assert labels['classes'][:2] == ['background', 'disc']
    assert labels['palette'][1] == [220, 60, 60]
    imagenet = describe(configs['classifier'], graph, 'fp32')
    assert (
        imagenet['classes'][0] == 'tench, Tinca tinca'
        and len(imagenet['classes']) == 1000
    )


def test_an_unfused_graph_says_so(configs):
    graph = build_graph(make_mobilevig(), 'backbone')
    assert describe(None, graph, 'fp32')['fused'] is False


@pytest.mark.parametrize('kind', tiny_models.CONFIGS)
def test_config_of_a_file(kind, configs):
    """The same whether the model was built from it; another one is refused."""
    cfg = deepcopy(configs[kind])
    before = hash_model(cfg)
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        cfg.model.setdefault('data_preprocessor', cfg.get('data_preprocessor'))
        MODELS.build(cfg.model)
    metadata = {'model_sha256': before, 'config': 'one.py'}
    cfg.model.backbone.init_cfg = dict(type='Pretrained', checkpoint='x.pth')
    check_config(metadata, cfg, 'x.onnx')
    other = deepcopy(cfg)
    other.model.backbone.arch.channels = (8, 16, 24, 40)
    with pytest.raises(
        UserError, match=rf'x.onnx .* one\.py, which is not .* tiny_{kind}\.py'
    ):
        check_config(metadata, other, 'x.onnx')
    thresholds = Config(dict(model=dict(test_cfg=dict(rcnn=dict(score_thr=0.1)))))
    assert hash_model(thresholds) != hash_model(Config(dict(model=dict(test_cfg=None))))


def test_formats_by_name():
    assert format_of('a/b.onnx') == 'onnx'
    assert format_of(Path('b.xml')) == 'openvino'
    assert format_of('b.mlpackage') == 'coreml'
    assert format_of('b.ncnn.param') == 'ncnn'
    assert format_of('b.param') is None
    for name in formats.FORMATS:
        writer = load_format(name)
        assert (name, formats.SUFFIXES[name]) == (writer.NAME, writer.SUFFIX)
    with pytest.raises(UserError, match="unknown format 'tflite': choose one of onnx"):
        load_format('tflite')


@pytest.mark.parametrize(
    ('fmt', 'package'),
    [
        ('onnx', 'onnxruntime'),
        ('openvino', 'openvino'),
        ('coreml', 'coremltools'),
        ('ncnn', 'ncnn'),
    ],
)
def test_a_missing_package_names_the_extra(fmt, package, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(sys.modules, f'mmrapidnet.deploy.formats.{fmt}', raising=False)
    with pytest.raises(
        UserError, match=rf'{fmt} needs {package}, .*pip install "mmrapidnet\[{fmt}\]"'
    ):
        load_format(fmt)


@pytest.mark.parametrize(
    ('name', 'fmt', 'package', 'options'),
    [
        ('pyramid', 'onnx', 'onnx_ir', {}),
        ('pyramid', 'ncnn', 'pnnx', {}),
        (
            'segmenter',
            'openvino',
            'nncf',
            dict(precision='int8', calibration=[picture(*SIZE)]),
        ),
    ],
)
def test_a_missing_converter_names_the_extra(
    name, fmt, package, options, write, monkeypatch
):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(
        UserError, match=rf'{fmt} needs {package}, .*pip install "mmrapidnet\[{fmt}\]"'
    ):
        write(name, fmt, size=(32, 32), **options)


@pytest.mark.parametrize('fmt', formats.FORMATS)
def test_requests_that_a_format_refuses(fmt, write, graphs):
    with pytest.raises(UserError, match=f'{fmt} holds no backbone in int4: choose'):
        write('pyramid', fmt, 'int4')
    detector = Graph('detector', nn.Identity(), ('boxes',))
    writer = load_format(fmt)
    if 'detector' in writer.PRECISIONS:
        return
    with pytest.raises(UserError, match=f'{fmt} cannot hold a detector, .*part=dense'):
        writer.write(detector, None, None, {})


@pytest.mark.parametrize('fmt', formats.FORMATS)
def test_a_file_that_is_not_what_its_suffix_says(fmt, tmp_path):
    path = tmp_path / f'file{formats.SUFFIXES[fmt]}'
    with pytest.raises(UserError, match=f'there is no file {path}'):
        open_session(path)
    if fmt == 'coreml':
        path.mkdir()
    else:
        path.write_bytes(b'\x89PNG')
        path.with_suffix('.bin').write_bytes(b'')
    with pytest.raises(UserError, match=f'{path} is not a') as error:
        open_session(path)
    assert '\n' not in str(error.value)
    with pytest.raises(UserError, match=r'model.pth is not an exported file.*\*\.onnx'):
        open_session('model.pth')


def test_files_that_are_not_ours(write, tmp_path):
    import coremltools
    import onnx
    import openvino

    said = 'does not say what it holds .*export the checkpoint again'
    model = onnx.load(write('pyramid', 'onnx'))
    del model.metadata_props[:]
    onnx.save(model, tmp_path / 'x.onnx')
    openvino.save_model(openvino.convert_model(tmp_path / 'x.onnx'), tmp_path / 'x.xml')
    path = write('classifier', 'coreml')
    spec = coremltools.utils.load_spec(str(path))
    spec.description.metadata.userDefined.clear()
    coremltools.models.MLModel(
        spec, weights_dir=f'{path}/Data/com.apple.CoreML/weights', skip_model_load=True
    ).save(str(tmp_path / 'x.mlpackage'))
    for name in ('x.onnx', 'x.xml', 'x.mlpackage'):
        with pytest.raises(UserError, match=said):
            open_session(tmp_path / name)

    path = tmp_path / 'x.ncnn.param'
    source = write('pyramid', 'ncnn')
    path.write_bytes(source.read_bytes())
    with pytest.raises(
        UserError, match=r'is not whole: .*x\.ncnn\.bin must lie beside'
    ):
        open_session(path)
    path.with_suffix('.bin').write_bytes(source.with_suffix('.bin').read_bytes())
    with pytest.raises(
        UserError, match=r'is not whole: .*x\.ncnn\.json must lie besid'
    ):
        open_session(path)
    path.with_suffix('.json').write_text('{}')
    with pytest.raises(UserError, match=said):
        open_session(path)
    path.with_suffix('.json').write_text('{"version": 9}')
    with pytest.raises(UserError, match='describes itself in version 9, .*version 1'):
        open_session(path)

    (tmp_path / 'x.bin').unlink()
    with pytest.raises(UserError, match=r'x\.xml lacks its weights: .*x\.bin must lie'):
        open_session(tmp_path / 'x.xml')


@pytest.mark.parametrize(
    'image',
    [
        np.zeros((1, 3, 64, 96), np.uint8),
        np.zeros((3, 64, 96), np.float32),
        np.zeros((1, 64, 96, 3), np.float32),
    ],
)
def test_images_of_another_kind(image, write):
    session = open_session(write('pyramid', 'onnx'), threads=1)
    with pytest.raises(UserError, match=r'takes images as float32 \(N, 3, H, W\), not'):
        session(image)
