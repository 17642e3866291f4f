"""Segmentors with other heads: for any size, or for one, as mmseg predicts."""

import numpy as np
import pytest
import torch
from helpers.tiny_models import TWO_BLOCKS, load, write_checkpoint
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from torch.nn import functional as F

from dev.benchmark.peers import randomize_norms
from mmrapidnet.deploy import fuse
from mmrapidnet.deploy.export import export
from mmrapidnet.deploy.formats import SUFFIXES, load_format
from mmrapidnet.deploy.graphs import build_graph
from mmrapidnet.deploy.inference import ExportedModel, read_settings
from mmrapidnet.deploy.metadata import describe
from mmrapidnet.utils.errors import UserError

HEADS = {
    'PSPHead': dict(type='PSPHead', in_channels=32, in_index=3),
    'UPerHead': dict(
        type='UPerHead', in_channels=[8, 16, 24, 32], in_index=[0, 1, 2, 3]
    ),
    # Which pools by a function and not by a module.
    'APCHead': dict(type='APCHead', in_channels=32, in_index=3, pool_scales=(1, 2, 3)),
    # Over the whole map only, which any size has.
    'ASPPHead': dict(type='ASPPHead', in_channels=32, in_index=3, dilations=(1, 2)),
    'FCNHead': dict(type='FCNHead', in_channels=32, in_index=3),
    'SegformerHead': dict(
        type='SegformerHead', in_channels=[8, 16, 24, 32], in_index=[0, 1, 2, 3]
    ),
    'DepthwiseSeparableASPPHead': dict(
        type='DepthwiseSeparableASPPHead',
        in_channels=32,
        in_index=3,
        dilations=(1, 2),
        c1_in_channels=8,
        c1_channels=4,
    ),
    'LRASPPHead': dict(
        type='LRASPPHead',
        in_channels=(8, 16, 24),
        in_index=(0, 1, 2),
        branch_channels=(4, 8),
        input_transform='multiple_select',
    ),
}


def segmenter_with(head, folder, root, **options):
    """The small segmenter without a neck and with another head."""
    cfg = load('segmenter', folder, root, TWO_BLOCKS)
    cfg.model.pop('neck')
    common = dict(channels=8, num_classes=7, norm_cfg=dict(type='BN'))
    common = {**common, 'align_corners': False, **options}
    cfg.model.decode_head = dict(**HEADS[head], **common)
    return cfg


def build(cfg):
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        torch.manual_seed(0)
        return randomize_norms(MODELS.build(cfg.model)).eval()


def make_picture(size, batch=1):
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (batch, 3, *size), generator=generator).float()


ROUNDING = 1e-4  # of a file's logits, relative to the largest


SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    ('head', 'options', 'format'),
    [
        ('SegformerHead', {}, 'onnx'),
        ('DepthwiseSeparableASPPHead', {}, 'openvino'),
        pytest.param('SegformerHead', {}, 'openvino', marks=SLOW),
        pytest.param('DepthwiseSeparableASPPHead', {}, 'onnx', marks=SLOW),
        # mmseg makes numbers of sizes then, for a warning.
        pytest.param('SegformerHead', {'align_corners': True}, 'onnx', marks=SLOW),
        pytest.param('ASPPHead', {}, 'onnx', marks=SLOW),
    ],
)
def test_heads_for_any_size(head, options, format, tmp_path):
    """Their logits, resized, are what mmseg predicts, in PyTorch and from a file."""
    model = build(segmenter_with(head, tmp_path, tmp_path, **options))
    graph, writer = build_graph(fuse(model)), load_format(format)
    assert graph.dynamic
    path = tmp_path / f'model{SUFFIXES[format]}'
    metadata = describe(None, graph, 'fp32')
    metadata['settings'] = read_settings(model, graph)
    writer.write(graph, torch.zeros(1, 3, 64, 96), path, metadata)
    file = ExportedModel(path, isolated=True)
    for size, batch in (((70, 101), 1), ((131, 64), 2)):
        images = make_picture(size, batch)
        expected = predict(model, images)
        with torch.no_grad():
            (logits,) = graph.module(images)
        arrays = list(images.permute(0, 2, 3, 1).numpy().astype(np.uint8))
        found = torch.from_numpy(file(*arrays)['logits'])
        corners = model.align_corners
        for given in (logits, found):
            given = F.interpolate(given, size, mode='bilinear', align_corners=corners)
            atol = ROUNDING * expected.abs().max().item()
            torch.testing.assert_close(given, expected, rtol=0, atol=atol)
        for labels, given in zip(
            file.predict_all(arrays, [None] * batch, [None] * batch), expected
        ):
            # Near ties fall either way.
            assert (labels['labels'] != given.argmax(0).numpy()).mean() < 1e-3


def predict(model, images):
    """The logits that mmseg predicts from, of the size of the images."""
    size = tuple(images.shape[2:])
    with DefaultScope.overwrite_default_scope('mmseg'), torch.no_grad():
        data = model.data_preprocessor(dict(inputs=list(images.to(torch.uint8))))
        samples = model.predict(data['inputs'])
    logits = torch.stack([sample.seg_logits.data for sample in samples])
    assert logits.shape[2:] == size
    return logits


@pytest.mark.slow
@pytest.mark.parametrize('format', ['onnx', 'openvino'])
def test_pooling_that_small_images_have_no_window_for(format, tmp_path):
    """LR-ASPP pools windows of 49: a file of it is for one size, and right for it."""
    model = build(segmenter_with('LRASPPHead', tmp_path, tmp_path))
    graph, writer = build_graph(fuse(model)), load_format(format)
    assert graph.bound_by == 'the model, which takes no image of 128x128,'
    path, size = tmp_path / f'model{SUFFIXES[format]}', (790, 1110)
    metadata = describe(None, graph, 'fp32', size=size)
    writer.write(graph, torch.zeros(1, 3, *size), path, metadata)
    images = make_picture(size)
    expected = predict(model, images)
    array = images[0].permute(1, 2, 0).numpy().astype(np.uint8)
    logits = torch.from_numpy(ExportedModel(path, isolated=True)(array)['logits'])
    found = F.interpolate(logits, size, mode='bilinear')
    atol = ROUNDING * expected.abs().max().item()
    torch.testing.assert_close(found, expected, rtol=0, atol=atol)


def test_a_head_that_predicts_in_its_own_way(tmp_path):
    model = build(segmenter_with('FCNHead', tmp_path, tmp_path))
    model.decode_head = torch.nn.ModuleList([model.decode_head, torch.nn.Identity()])
    with pytest.raises(UserError, match='the FCNHead and Identity of this EncoderDec'):
        build_graph(model)
    model.decode_head = torch.nn.Identity()
    with pytest.raises(UserError, match='Identity .* only the backbone .*part=backbo'):
        build_graph(model)
    assert build_graph(model, 'backbone').dynamic


@pytest.mark.parametrize('head', sorted(set(HEADS) - {'LRASPPHead'}))
def test_pooling_into_a_grid_is_for_one_size(head, tmp_path):
    graph = build_graph(build(segmenter_with(head, tmp_path, tmp_path)))
    grid = head in ('PSPHead', 'UPerHead', 'APCHead')
    assert graph.bound_by == ('adaptive_avg_pool2d' if grid else None)
    assert graph.dynamic is not grid


def test_a_model_of_a_fixed_size_is_for_one_size(tmp_path):
    cfg = segmenter_with('FCNHead', tmp_path, tmp_path)
    model = build(cfg)

    class Positions(torch.nn.Module):
        def forward(self, maps):
            return maps[3] + torch.zeros(1, 32, 7, 7)

    model.backbone = torch.nn.Sequential(model.backbone, Positions())
    model.decode_head.in_index = 0
    graph = build_graph(model)
    assert graph.bound_by == 'the model, which takes no image of 128x128,'


@pytest.mark.parametrize(
    ('head', 'format'),
    [
        ('PSPHead', 'openvino'),
        pytest.param('PSPHead', 'onnx', marks=SLOW),
        pytest.param('UPerHead', 'onnx', marks=SLOW),
        pytest.param('UPerHead', 'openvino', marks=SLOW),
    ],
)
def test_the_size_is_fixed_by_itself(head, format, shapes_root, tmp_path, capsys):
    """To that of the image, another than a file for every size is traced with."""
    cfg = segmenter_with(head, tmp_path, shapes_root / 'ade')
    checkpoint = str(write_checkpoint(cfg, tmp_path / 'seg.pth'))
    out = tmp_path / f'seg{SUFFIXES[format]}'
    report = export(Config(cfg.to_dict()), checkpoint, format, out)
    assert report.metadata['input']['size'] == [192, 192]
    assert all(d.is_tolerable for d in report.differences)
    said = capsys.readouterr().out.splitlines()
    assert (
        f'{out.name} will take images of 192x192 (height x width), or of what --size '
        'gives: adaptive_avg_pool2d is right for one size only'
    ) in said
    with pytest.raises(UserError, match='takes images of 192x192 only'):
        ExportedModel(out)(np.zeros((64, 96, 3), np.uint8))
