"""Files of small graphs, written once a session."""

from functools import cache

import pytest
import torch
from helpers.exported_files import SIZE, make_graph, picture

from mmrapidnet.deploy.formats import load_format, onnx_model
from mmrapidnet.deploy.metadata import describe


@pytest.fixture(scope='session')
def write(tmp_path_factory):
    """Writes a graph once, converting to ONNX once for all its files."""
    folder, convert = tmp_path_factory.mktemp('exported'), onnx_model.convert

    @cache
    def convert_once(graph, size):
        return convert(graph, dict(size=size, channels=3))

    @cache
    def write_once(name, fmt, precision='fp32', size=SIZE, fixed=False, images=0):
        writer, graph = load_format(fmt), make_graph(name)
        path = folder / f'{name}-{precision}-{size[0]}-{fixed}{writer.SUFFIX}'
        fixed = fixed or not writer.is_dynamic(graph)
        metadata = describe(None, graph, precision, size=size if fixed else None)
        calibration = (picture(*size, seed=seed) for seed in range(images))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(
                onnx_model,
                'convert',
                lambda graph, image: convert_once(graph, size if fixed else None),
            )
            writer.write(graph, torch.zeros(1, 3, *size), path, metadata, calibration)
        return path

    return write_once
