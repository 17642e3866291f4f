"""What a format cannot hold, and files that are not what they are taken for."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.exported_files import PHONE_FORMATS, SIZE
from torch import nn

from mmrapidnet.deploy import formats
from mmrapidnet.deploy.formats import (
    check_supported,
    format_of,
    load_format,
    open_session,
)
from mmrapidnet.deploy.graphs import Graph
from mmrapidnet.deploy.metadata import describe
from mmrapidnet.utils.errors import UserError

FORMATS = ['onnx', 'openvino', 'coreml', 'ncnn', *PHONE_FORMATS]


class Unheard(nn.Module):
    """An operator that no runtime has."""

    def forward(self, image):
        return (torch.special.modified_bessel_i0(image),)


@pytest.mark.parametrize('fmt', ['onnx', 'coreml', 'ncnn', *PHONE_FORMATS])
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


def test_formats_by_name():
    assert format_of('a/b.onnx') == 'onnx'
    assert format_of(Path('b.xml')) == 'openvino'
    assert format_of('b.mlpackage') == 'coreml'
    assert format_of('b.ncnn.param') == 'ncnn'
    assert format_of('b.pte') == 'executorch'
    assert format_of('b.tflite') == 'litert'
    assert format_of('b.param') is None
    with pytest.raises(UserError, match="unknown format 'tflite': choose one of onnx"):
        load_format('tflite')


@pytest.mark.parametrize(
    ('fmt', 'package'),
    [
        ('onnx', 'onnxruntime'),
        ('openvino', 'openvino'),
        ('coreml', 'coremltools'),
        ('ncnn', 'ncnn'),
        ('litert', 'ai_edge_litert'),
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
    ('fmt', 'package', 'precision'),
    [
        ('onnx', 'onnx_ir', 'fp32'),
        ('ncnn', 'pnnx', 'fp32'),
        ('openvino', 'onnx_ir', 'fp32'),
        ('openvino', 'nncf', 'int8'),
    ],
)
def test_a_missing_converter_names_the_extra(
    fmt, package, precision, write, monkeypatch
):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(
        UserError, match=rf'{fmt} needs {package}, .*pip install "mmrapidnet\[{fmt}\]"'
    ):
        write('pyramid', fmt, precision, size=(32, 32))


@pytest.mark.parametrize('fmt', FORMATS)
def test_requests_that_a_format_refuses(fmt):
    writer = load_format(fmt)
    assert (fmt, formats.SUFFIXES[fmt]) == (writer.NAME, writer.SUFFIX)
    with pytest.raises(UserError, match=f'{fmt} holds no backbone in int4: choose'):
        check_supported(writer, 'backbone', 'int4')
    if 'detector' in writer.PRECISIONS:
        return
    with pytest.raises(UserError, match=f'{fmt} cannot hold a detector, .*part=dense'):
        check_supported(writer, 'detector', 'fp32')


@pytest.mark.parametrize('fmt', FORMATS)
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
