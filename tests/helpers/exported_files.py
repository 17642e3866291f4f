"""Small graphs, what their files are given, and how far these are from PyTorch."""

import tempfile
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.model import ImgDataPreprocessor
from torch import nn
from torch.nn import functional as F

from dev.benchmark.peers import randomize_norms
from helpers import tiny_models
from mmrapidnet.deploy import fuse
from mmrapidnet.deploy import metadata as about
from mmrapidnet.deploy.formats import onnx_model
from mmrapidnet.deploy.formats.session import Session
from mmrapidnet.deploy.graphs import Graph, build_graph
from mmrapidnet.models import MobileViG

SIZE = (64, 96)
ODD = (70, 101)  # no multiple of a stride

# Of a detector with two maps of the backbone, which is converted in half the time.
FEW_MAPS = {
    'model.backbone.out_indices': (2, 3),
    'model.neck.in_channels': [24, 32],
    'model.neck.num_outs': 3,
    'model.rpn_head.anchor_generator.strides': [16, 32, 64],
}

# Parameters of tests: the formats whose packages `make test-all` alone installs.
PHONE_FORMATS = [
    pytest.param(
        name,
        marks=[
            pytest.mark.slow,
            pytest.mark.skipif(not find_spec(package), reason=f'needs {package}'),
        ],
    )
    for name, package in (('executorch', 'executorch'), ('litert', 'litert_torch'))
]


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


def make_mobilevig() -> nn.Module:
    """A backbone that compares all pixels, and nothing else but its stem."""
    model = nn.Module()
    model.data_preprocessor = ImgDataPreprocessor([120] * 3, [60] * 3, bgr_to_rgb=True)
    arch = dict(channels=(8, 8, 8, 8), blocks=(0, 0, 0, 1))
    model.backbone = randomize_norms(MobileViG(arch=arch, layer_scale_init_value=0.3))
    return model.eval()


@cache
def make_graph(name: str) -> Graph:
    """Make 'pyramid', 'mobilevig', 'classifier', 'segmenter' or 'dense', fused."""
    if name == 'pyramid':
        return Graph('backbone', Pyramid().eval(), ('feature0', 'feature1'))
    if name == 'mobilevig':
        return build_graph(make_mobilevig(), 'backbone')
    kind, part = ('detector', name) if name == 'dense' else (name, 'whole')
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        cfg = tiny_models.load(kind, root, root, tiny_models.TWO_BLOCKS)
    if name == 'dense':
        cfg.merge_from_dict(FEW_MAPS)
    return build_graph(fuse(tiny_models.build_model(cfg)), part)


def picture(height: int, width: int, batch: int = 1, seed: int = 0) -> np.ndarray:
    """Blobs of colour on which neighbouring pixels agree, as they do in a picture."""
    rng = np.random.default_rng(seed)
    small = torch.tensor(rng.uniform(0, 255, (batch, 3, 6, 7)), dtype=torch.float32)
    large = F.interpolate(small, (height, width), mode='bilinear').round()
    return large.numpy()


def difference(session: Session, name: str, image: np.ndarray) -> float:
    """Of the worst output the norm of the difference over that of PyTorch's."""
    graph, got = make_graph(name), session(image)
    with torch.no_grad():
        expected = graph.module(torch.from_numpy(image))
    assert list(got) == list(graph.outputs) == session.metadata['outputs']
    found = []
    for array, tensor in zip(got.values(), expected, strict=True):
        tensor = tensor.numpy()
        assert array.shape == tensor.shape and array.dtype == tensor.dtype
        found.append(np.linalg.norm(array - tensor) / np.linalg.norm(tensor))
    return max(found)


def write_ncnn(path: Path, layer: str) -> Path:
    """A file of ncnn with one layer, which this package takes for its own."""
    path.write_text(f'7767517\n2 2\nInput image 0 1 image\n{layer} image feature0\n')
    path.with_suffix('.bin').write_bytes(b'')
    graph = Graph('backbone', nn.Identity(), ('feature0',))
    text = about.to_text(about.describe(None, graph, 'fp32'), batch=1)
    path.with_suffix('.json').write_text(text)
    return path


def convert_once(monkeypatch) -> None:
    """Let all exports of a test be of one model, which is converted to ONNX once."""
    convert, converted = onnx_model.convert, {}

    def reuse(graph: Graph, image: dict[str, Any]) -> Any:
        key = str(image['size'])
        if key not in converted:
            converted[key] = convert(graph, image)
        return converted[key]

    monkeypatch.setattr(onnx_model, 'convert', reuse)
