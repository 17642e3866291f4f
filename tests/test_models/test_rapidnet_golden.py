"""RapidNet equals the published implementation, number for number."""

import re

import golden
import pytest
import torch

from mmrapidnet.models import RapidNet
from mmrapidnet.models.layers import DistilledClassifier

HIDDEN = {'ti': 512, 's': 512, 'm': 512, 'b': 768}

# From our names to the published ones, in this order.
PUBLISHED = [
    (r'^stem\.(\d)\.conv', lambda m: f'stem.stem.{3 * int(m[1])}'),
    (r'^stem\.(\d)\.norm', lambda m: f'stem.stem.{3 * int(m[1]) + 1}'),
    (r'^stages', 'backbone'),
    (r'^(backbone\.\d\.0)\.conv', r'\1.conv.0'),
    (r'^(backbone\.\d\.0)\.norm', r'\1.conv.1'),
    (r'\.mixer\.scale', '.layer_scale_1'),
    (r'\.ffn\.scale', '.layer_scale_2'),
    (r'\.scale', '.layer_scale_1'),
    (r'\.mixer\.branch', '.mixer'),
    (r'\.ffn\.branch', '.ffn'),
    (r'\.branch\.', '.dws.'),
    (r'dws\.expand\.conv', 'dws.pw1'),
    (r'dws\.expand\.norm', 'dws.norm1'),
    (r'dws\.depthwise\.conv', 'dws.dw'),
    (r'dws\.depthwise\.norm', 'dws.norm2'),
    (r'dws\.project\.conv', 'dws.pw2'),
    (r'dws\.project\.norm', 'dws.norm3'),
    (r'cpe\.conv', 'cpe.pe'),
    (r'proj_in\.conv', 'fc1.0'),
    (r'proj_in\.norm', 'fc1.1'),
    (r'proj_out\.conv', 'fc2.0'),
    (r'proj_out\.norm', 'fc2.1'),
    (r'branches\.0\.conv', 'graph_conv.nn.0'),
    (r'branches\.0\.norm', 'graph_conv.nn.1'),
    (r'branches\.1\.conv', 'graph_conv.nn_2.0'),
    (r'branches\.1\.norm', 'graph_conv.nn_2.1'),
    (r'ffn\.depthwise\.conv', 'ffn.conv.conv'),
    (r'ffn\.depthwise\.norm', 'ffn.norm1'),
    (r'ffn\.expand\.conv', 'ffn.fc1'),
    (r'ffn\.expand\.norm', 'ffn.norm2'),
    (r'ffn\.project\.conv', 'ffn.fc2'),
    (r'ffn\.project\.norm', 'ffn.norm3'),
    (r'^hidden\.conv', 'prediction.1'),
    (r'^hidden\.norm', 'prediction.2'),
]


def published_name(name: str) -> str:
    for pattern, replacement in PUBLISHED:
        name = re.sub(pattern, replacement, name)
    return name


def filled(module: torch.nn.Module) -> torch.nn.Module:
    module = module.double().eval()
    state = module.state_dict()
    module.load_state_dict(
        {
            name: golden.parameter(published_name(name), tuple(value.shape))
            for name, value in state.items()
        }
    )
    return module


@pytest.mark.parametrize('arch', HIDDEN)
def test_equals_the_published_implementation(arch):
    backbone = filled(RapidNet(arch=arch))
    top = filled(DistilledClassifier(backbone.out_channels[-1], HIDDEN[arch], 1000))
    theirs = golden.expected(f'rapidnet_{arch}')
    compared = set()
    for height, width in ((64, 96), (160, 224)):
        with torch.no_grad():
            features = backbone(golden.image(height, width))
            logits = top(features[-1])
        ours = {f'stage{i}': feature for i, feature in enumerate(features)}
        for name, value in {**ours, 'logits': logits}.items():
            key = f'{height}x{width}_{name}'
            if key in theirs:
                assert golden.largest_difference(value, theirs[key]) < 1e-6, key
                compared.add(key)
    assert compared == set(theirs)
