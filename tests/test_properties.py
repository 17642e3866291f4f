"""What holds for every input: sizes, taps, reparameterisation, names, written data."""

import hashlib
import json
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO
from torch import nn

from mmrapidnet.checkpoints.convert.detect import choose_weights, find_kind
from mmrapidnet.checkpoints.convert.expected import backbone_shapes
from mmrapidnet.checkpoints.convert.key_maps import AUTHORS, TIMM_REPVIT
from mmrapidnet.checkpoints.convert.match import _compare
from mmrapidnet.datasets.shapes import CLASSES, write_shapes, write_shapes_cls
from mmrapidnet.datasets.shapes.shapes_cls import CLS_CLASSES
from mmrapidnet.models import MobileViG, RapidNet, RepViT
from mmrapidnet.models.backbones.rapidnet import ConditionalPositionEncoding
from mmrapidnet.models.backbones.repvit import RepDepthwise
from mmrapidnet.models.layers import ConvNormAct, ScaledResidual
from mmrapidnet.models.reparam import reparameterize

STEADY = dict(deadline=None, derandomize=True, database=None)
CHANNELS = (4, 6, 8, 10)
ARCHS = {
    RapidNet: dict(local_blocks=(1, 1, 1, 1), global_blocks=(0, 0, 1, 1)),
    MobileViG: dict(blocks=(1, 1, 2, 2)),
    RepViT: dict(blocks=(2, 3, 4, 2)),
}
BN = dict(type='BN')

edges = st.integers(1, 130)
taps = st.sets(st.integers(0, 3), min_size=1).map(sorted)
seeds = st.integers(0, 2**31 - 1)


# --------------------------------------------------------------- taps and sizes


@pytest.mark.parametrize('kind', ARCHS)
@settings(max_examples=10, **STEADY)
@given(height=edges, width=edges, out_indices=taps)
def test_maps_are_as_large_as_their_strides_say(kind, height, width, out_indices):
    arch = dict(channels=CHANNELS, **ARCHS[kind])
    model = kind(arch=arch, out_indices=out_indices).eval()
    with torch.no_grad():
        maps = model(torch.zeros(1, 3, height, width))
    strides = [4 << i for i in out_indices]
    # -(-a // b) is a / b rounded up.
    assert [tuple(m.shape) for m in maps] == [
        (1, CHANNELS[i], -(-height // stride), -(-width // stride))
        for i, stride in zip(out_indices, strides, strict=True)
    ]
    assert model.strides == tuple(strides)
    assert model.out_channels == tuple(CHANNELS[i] for i in out_indices)


@pytest.mark.parametrize('kind', ARCHS)
@settings(max_examples=3, **STEADY)
@given(height=edges, width=edges, out_indices=taps)
def test_a_tap_is_the_same_whatever_else_is_tapped(kind, height, width, out_indices):
    arch = dict(channels=CHANNELS, **ARCHS[kind])
    model = kind(arch=arch, out_indices=(0, 1, 2, 3)).eval()
    some = kind(arch=arch, out_indices=out_indices).eval()
    weights = model.state_dict()
    some.load_state_dict({name: weights[name] for name in some.state_dict()})
    image = torch.rand(1, 3, height, width)
    with torch.no_grad():
        every, maps = model(image), some(image)
    for i, tapped in zip(out_indices, maps, strict=True):
        assert torch.equal(tapped, every[i])


# ----------------------------------------------------------- reparameterisation


def random_module(module: nn.Module, seed: int) -> nn.Module:
    """Any weights and statistics, in evaluation and float64."""
    generator = torch.Generator().manual_seed(seed)
    module = module.double().eval()
    for name, value in module.state_dict().items():
        if name.endswith('running_var'):
            value.copy_(10 ** (4 * torch.rand(value.shape, generator=generator) - 3))
        elif value.is_floating_point():
            value.normal_(generator=generator)
    return module


@settings(max_examples=30, **STEADY)
@given(
    seed=seeds,
    groups=st.integers(1, 3),
    into=st.integers(1, 4),
    out=st.integers(1, 4),
    kernel=st.sampled_from([1, 3, 5]),
    stride=st.integers(1, 2),
    bias=st.booleans(),
)
def test_a_normalisation_merges_into_its_convolution(
    seed, groups, into, out, kernel, stride, bias
):
    layer = ConvNormAct(
        into * groups,
        out * groups,
        kernel,
        stride=stride,
        groups=groups,
        bias=bias,
        norm_cfg=BN,
    )
    assert_merges(random_module(layer, seed), into * groups, seed)


@settings(max_examples=20, **STEADY)
@given(seed=seeds, channels=st.integers(1, 6))
def test_parallel_branches_and_the_identity_merge_into_one(seed, channels):
    layer = random_module(RepDepthwise(channels, BN), seed)
    merged = assert_merges(layer, channels, seed)
    assert isinstance(merged, nn.Conv2d)
    assert len(list(merged.parameters())) == 2
    layer = ConditionalPositionEncoding(channels)
    assert_merges(random_module(layer, seed), channels, seed)


@settings(max_examples=20, **STEADY)
@given(seed=seeds, channels=st.integers(1, 6), bias=st.booleans())
def test_layer_scale_merges_into_the_projection_it_scales(seed, channels, bias):
    conv = nn.Conv2d(channels, channels, 3, padding=1, bias=bias)
    branch = nn.Sequential(nn.GELU(), conv, nn.BatchNorm2d(channels))
    layer = ScaledResidual(
        nn.Sequential(branch, nn.Conv2d(channels, channels, 1)), channels
    )
    merged = assert_merges(random_module(layer, seed), channels, seed)
    assert not hasattr(merged, 'scale')


def assert_merges(module, channels, seed):
    """Reparameterising changes the module, and nothing of what it computes."""
    x = torch.randn(
        2,
        channels,
        7,
        6,
        dtype=torch.float64,
        generator=torch.Generator().manual_seed(seed),
    )
    with torch.no_grad():
        expected = module(x)
        merged = reparameterize(module)
        found = merged(x)
    assert not any(isinstance(m, nn.BatchNorm2d) for m in merged.modules())
    # Relative to the largest: random signs cancel.
    error = (found - expected).abs().max() / expected.abs().max().clamp(min=1)
    assert error < 1e-11
    return merged


# ------------------------------------------------------------------ conversion

KEY_MAPS = (*AUTHORS, TIMM_REPVIT)
models = st.sampled_from(
    [(key_map, arch) for key_map, arch in zip(KEY_MAPS, ('ti', 'ti', 'm0_6', 'm0_9'))]
)
SHAPES = {}


def published(key_map, arch):
    """Our names of a backbone's tensors and the published ones, with the shapes."""
    key = key_map.backbone, arch
    if key not in SHAPES:
        SHAPES[key] = backbone_shapes(key_map, arch)
    return SHAPES[key], key_map.published_keys(SHAPES[key])


@settings(max_examples=8, **STEADY)
@given(model=models, data=st.data())
def test_names_are_a_bijection_and_what_is_amiss_is_reported(model, data):
    shapes, names = published(*model)
    assert len(set(names.values())) == len(names) == len(shapes)
    weights = {
        theirs: torch.empty(shapes[ours], device='meta')
        for ours, theirs in names.items()
    }
    assert _compare(shapes, names, weights).total == 0

    chosen = st.sampled_from(sorted(weights))
    lost = data.draw(st.sets(chosen, max_size=5))
    bent = data.draw(st.sets(chosen, max_size=5)) - lost
    added = data.draw(st.sets(st.text(min_size=1), max_size=5)) - set(weights)
    for name in lost:
        del weights[name]
    for name in bent:
        weights[name] = torch.empty((*weights[name].shape, 2), device='meta')
    weights.update(dict.fromkeys(added, torch.empty(1, device='meta')))
    account = _compare(shapes, names, weights)
    assert set(account.missing) == lost
    assert {text.partition(' ')[0] for text in account.reshaped} == bent
    assert set(account.surplus) == added
    assert str(account).isprintable()


@settings(max_examples=20, **STEADY)
@given(
    model=models,
    entry=st.sampled_from([None, 'model', 'model_ema', 'state_dict']),
    wrapped=st.booleans(),
)
def test_a_file_is_detected_however_its_weights_are_wrapped(model, entry, wrapped):
    key_map, _ = model
    _, names = published(*model)
    start = 'module.' if wrapped else ''
    weights = {start + name: torch.empty(1) for name in names.values()}
    content = {entry: weights, 'epoch': 3} if entry else weights
    found, clean = choose_weights(content, None, 'file')
    assert found == entry or (entry is None and set(content) == set(weights))
    assert set(clean) == set(names.values())
    assert find_kind(clean).key_map is key_map


# ------------------------------------------------------------- data set writers


def digest(root: Path) -> str:
    """Of every file's name and content."""
    total = hashlib.sha256()
    for path in sorted(p for p in root.rglob('*') if p.is_file()):
        total.update(str(path.relative_to(root)).encode() + path.read_bytes())
    return total.hexdigest()


@settings(max_examples=5, **STEADY)
@given(count=st.integers(1, 5), size=st.integers(64, 100), seed=st.integers(0, 999))
def test_scenes_agree_with_their_annotations(count, size, seed):
    with TemporaryDirectory() as folder:
        roots = [Path(folder, name) for name in 'ab']
        for root in roots:
            statistics = write_shapes(root, {'val': count}, size, seed)
        assert digest(roots[0]) == digest(roots[1])
        file = roots[0] / 'coco/annotations/instances_val2017.json'
        truth = COCO(str(file))
        annotations = json.loads(file.read_text())['annotations']
        assert len(truth.imgs) == statistics['val']['images'] == count
        assert len({a['id'] for a in annotations}) == len(annotations)
        crowds = sum(a['iscrowd'] for a in annotations)
        assert statistics['val']['crowds'] == crowds
        assert statistics['val']['objects'] == len(annotations) - crowds
        for image in truth.imgs.values():
            assert_consistent(roots[0], truth, image, size)


def assert_consistent(root, truth, image, size):
    """Masks, boxes, areas and the label map of one image say the same."""
    name = Path(image['file_name'])
    pixels = cv2.imread(str(root / 'coco/val2017' / name))
    assert pixels.shape == (image['height'], image['width'], 3) == (size, size, 3)
    labels = cv2.imread(
        str(root / 'ade/annotations/validation' / name.with_suffix('.png')),
        cv2.IMREAD_UNCHANGED,
    )
    owner = np.ones((size, size), np.uint8)
    covered = np.zeros((size, size), int)
    for annotation in truth.imgToAnns[image['id']]:
        mask = truth.annToMask(annotation).astype(bool)
        rows, columns = np.nonzero(mask)
        x, y, width, height = annotation['bbox']
        assert annotation['area'] == mask.sum() > 0
        assert (x, y) == (columns.min(), rows.min())
        assert (width, height) == (np.ptp(columns) + 1, np.ptp(rows) + 1)
        assert 1 <= annotation['category_id'] <= len(CLASSES)
        owner[mask] = 1 + annotation['category_id']
        covered += mask
    # Each pixel is one instance's at most, and labelled as such or not at all.
    assert covered.max() <= 1
    assert np.all((labels == owner) | (labels == 0))


@settings(max_examples=3, **STEADY)
@given(count=st.integers(1, 30), size=st.integers(64, 72), seed=st.integers(0, 999))
def test_single_objects_are_spread_over_the_classes(count, size, seed):
    with TemporaryDirectory() as folder:
        roots = [Path(folder, name) for name in 'ab']
        for root in roots:
            statistics = write_shapes_cls(root, {'val': count}, size, seed)
        assert digest(roots[0]) == digest(roots[1])
        found = [len(list((roots[0] / 'val' / name).iterdir())) for name in CLS_CLASSES]
        assert sum(found) == statistics['val']['images'] == count
        assert [min(found), max(found)] == statistics['val']['images_per_class']
