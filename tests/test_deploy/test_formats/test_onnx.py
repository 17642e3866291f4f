"""ONNX: standard operators of one opset, checked shapes, everything in one file."""

import onnx
from helpers.exported_files import make_graph


def test_onnx_file(write):
    """Standard operators of one opset, checked shapes, everything in one file."""

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
    weights = sum(p.numel() for p in make_graph('segmenter').module.parameters()) * 4
    assert path.stat().st_size > weights
