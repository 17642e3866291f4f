"""Core ML does not run here: what was written is what is checked."""

import coremltools
import pytest
import torch
from helpers.exported_files import ODD, make_graph
from torch import nn

from mmrapidnet.deploy.formats import load_format, open_session
from mmrapidnet.deploy.graphs import Graph
from mmrapidnet.deploy.metadata import describe
from mmrapidnet.utils.errors import UserError


def read_coreml(path):
    spec = coremltools.utils.load_spec(str(path))
    program = spec.mlProgram.functions['main']
    (block,) = program.block_specializations.values()
    return spec, [operation.type for operation in block.operations]


def test_structure(write, capfd):
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
        isinstance(m, nn.Conv2d) for m in make_graph('segmenter').module.modules()
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


def test_size_range(write):
    """Where nothing is enlarged to the size of another map."""
    spec, _ = read_coreml(write('classifier', 'coreml'))
    size = spec.description.input[0].type.imageType.imageSizeRange
    assert (size.heightRange.lowerBound, size.heightRange.upperBound) == (32, 4096)
    assert size.widthRange == size.heightRange
    metadata = load_format('coreml').read_metadata(write('classifier', 'coreml'))
    assert metadata['input']['size'] is None


@pytest.mark.parametrize('channels', [1, 4])
def test_other_channels(channels, tmp_path):
    """An image where Core ML has such images, else an array."""
    graph = Graph('backbone', Strided(channels).eval(), ('feature0',))
    path, example = tmp_path / 'model.mlpackage', torch.zeros(1, channels, 64, 64)
    metadata = describe(None, graph, 'fp32', size=(64, 64), channels=channels)
    load_format('coreml').write(graph, example, path, metadata)
    (given,) = read_coreml(path)[0].description.input
    kind = given.type.WhichOneof('Type')
    if channels == 1:
        assert kind == 'imageType'
        assert given.type.imageType.colorSpace == 10  # GRAYSCALE
    else:
        assert kind == 'multiArrayType'
        assert list(given.type.multiArrayType.shape) == [1, 4, 64, 64]


class Strided(nn.Module):
    """One convolution of images of so many channels."""

    def __init__(self, channels):
        super().__init__()
        self.conv = nn.Conv2d(channels, 5, 3, stride=4)

    def forward(self, image):
        return (self.conv(image),)
