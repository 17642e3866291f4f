"""What the parts of a model cost, against counts by hand."""

import pytest
import torch
from helpers.commands import assert_one_line_error
from helpers.tiny_models import load, write_config
from helpers.tool_server import fork_tool
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from torch import nn

from mmrapidnet.apis.complexity import count_macs, count_parameters
from mmrapidnet.apis.model_parts import make_table, measure_config, measure_parts
from mmrapidnet.utils.errors import UserError


def build(scope, **settings):
    with DefaultScope.overwrite_default_scope(scope):
        return MODELS.build(settings).eval()


def by_name(parts):
    assert len({part.name for part in parts}) == len(parts)
    *_, whole = parts
    assert whole.name == 'whole model'
    assert sum(part.params for part in parts[:-1]) == whole.params
    if whole.macs is not None:
        assert sum(part.macs for part in parts[:-1]) == whole.macs
    return {part.name: part for part in parts}


def test_a_segmenter_by_hand():
    """ResNet's first convolution, a head of one convolution, an auxiliary head."""
    head = dict(type='FCNHead', num_convs=0, concat_input=False, num_classes=5)
    model = build(
        'mmseg',
        type='EncoderDecoder',
        backbone=dict(
            type='ResNet',
            depth=18,
            num_stages=1,
            strides=(1,),
            dilations=(1,),
            out_indices=(0,),
        ),
        decode_head=dict(**head, in_channels=64, channels=64, in_index=0),
        auxiliary_head=dict(**head, in_channels=64, channels=64, in_index=0),
    )
    parts = by_name(measure_parts(model, (64, 96)))
    first = parts['backbone.conv1']
    assert first.params == 64 * 3 * 49
    assert first.macs == 32 * 48 * 64 * 3 * 49
    # Four convolutions and normalisations, of maps of a quarter of the edges.
    layer = parts['backbone.layer1']
    assert layer.params == 4 * (64 * 64 * 9 + 2 * 64)
    assert layer.macs == 4 * 16 * 24 * (64 * 64 * 9 + 2 * 64)
    assert parts['decode_head'].params == 64 * 5 + 5
    assert parts['decode_head'].macs == 16 * 24 * 64 * 5
    auxiliary = parts['auxiliary_head']
    assert (auxiliary.params, auxiliary.macs) == (64 * 5 + 5, 0)
    assert auxiliary.note == 'computes nothing in inference'
    assert parts['whole model'].params == count_parameters(model)
    assert 'backbone.relu' not in parts and 'backbone.maxpool' not in parts


def test_attention_by_hand():
    """A vision transformer of mmpretrain: two products of matrices a head."""
    width, tokens = 32, 4 * 6
    model = build(
        'mmpretrain',
        type='ImageClassifier',
        backbone=dict(
            type='VisionTransformer',
            arch=dict(
                embed_dims=width, num_layers=1, num_heads=4, feedforward_channels=64
            ),
            img_size=(64, 96),
            patch_size=16,
            with_cls_token=False,
            out_type='avg_featmap',
        ),
        head=dict(type='LinearClsHead', num_classes=10, in_channels=width),
    )
    parts = by_name(measure_parts(model, (64, 96)))
    patches = parts['backbone.patch_embed']
    assert patches.params == width * 3 * 256 + width
    assert patches.macs == tokens * width * 3 * 256
    linear = tokens * (4 * width * width + 2 * width * 64)
    attention = 2 * tokens * tokens * width
    # mmengine counts five an element of a layer normalisation with weights.
    normalised = 2 * 5 * tokens * width
    assert parts['backbone.layers.0'].macs == linear + attention + normalised
    assert parts['head'].macs == width * 10
    # The embedding of positions belongs to no part of the backbone.
    assert parts['the rest'].params == tokens * width


def test_a_detector_in_two_stages(tmp_path):
    cfg = load('detector', tmp_path, tmp_path)
    parts, size = measure_config(cfg)
    assert size == (800, 1280)
    parts = by_name(parts)
    stages = [f'backbone.stages.{i}' for i in range(4)]
    heads = ['neck', 'rpn_head', 'roi_head.bbox_head', 'roi_head.mask_head']
    assert list(parts) == ['backbone.stem', *stages, *heads, 'whole model']
    with DefaultScope.overwrite_default_scope('mmdet'):
        model = MODELS.build(cfg.model).eval()
    assert parts['whole model'].params == count_parameters(model)
    # A box: 16 channels of 7x7 into 32, those into 32, and 7 classes or 24 offsets.
    classes = model.roi_head.bbox_head.num_classes
    box = 16 * 49 * 32 + 32 * 32 + 32 * (classes + 1) + 32 * 4 * classes
    assert parts['roi_head.bbox_head'].macs == 30 * box
    assert parts['roi_head.bbox_head'].note == '30 boxes'
    assert parts['roi_head.mask_head'].note == '12 boxes'
    mask = count_macs(model.roi_head.mask_head, (14, 14), 16)
    assert parts['roi_head.mask_head'].macs == 12 * mask
    backbone = count_macs(model.backbone, (800, 1280))
    assert sum(parts[n].macs for n in ('backbone.stem', *stages)) == backbone


def test_a_detector_in_one_stage():
    model = build(
        'mmdet',
        type='RetinaNet',
        backbone=dict(
            type='RapidNet',
            arch=dict(
                channels=(8, 8, 8, 8), local_blocks=(1,) * 4, global_blocks=(0,) * 4
            ),
        ),
        neck=dict(type='FPN', in_channels=[8] * 4, out_channels=8, num_outs=5),
        bbox_head=dict(
            type='RetinaHead',
            num_classes=3,
            in_channels=8,
            feat_channels=8,
            stacked_convs=1,
        ),
    )
    parts = by_name(measure_parts(model, (64, 64)))
    pixels = 16 * 16 + 8 * 8 + 4 * 4 + 2 * 2 + 1
    weights = 9 * 8 * (2 * 8 + 9 * 3 + 9 * 4)
    assert parts['bbox_head'].macs == pixels * weights


def test_what_cannot_be_counted_is_said():
    model = build(
        'mmseg',
        type='EncoderDecoder',
        backbone=dict(
            type='RapidNet',
            mixer='deformable',
            arch=dict(
                channels=(8, 8, 8, 8), local_blocks=(1,) * 4, global_blocks=(0, 0, 0, 1)
            ),
        ),
        decode_head=dict(type='FCNHead', in_channels=8, channels=8, num_classes=5),
    )
    parts = by_name(measure_parts(model, (64, 64)))
    assert parts['backbone.stages.2'].macs > 0
    assert parts['backbone.stages.3'].macs is None
    assert 'Deform' in parts['backbone.stages.3'].note
    assert parts['whole model'].macs is None


def test_images_of_other_channels(tmp_path):
    cfg = load('segmenter', tmp_path, tmp_path)
    three = by_name(measure_config(cfg, (64, 64))[0])
    cfg.model.backbone.in_channels = 1
    one = by_name(measure_config(Config(cfg.to_dict()), (64, 64))[0])
    # The first convolution of the stem, 3x3 to 4 channels.
    stem = three['backbone.stem'].macs - one['backbone.stem'].macs
    assert stem == 32 * 32 * 2 * 4 * 9
    assert three['neck'] == one['neck']


def test_what_cannot_be_built_or_run(tmp_path):
    cfg = load('segmenter', tmp_path, tmp_path)
    with pytest.raises(UserError, match=r'cannot be run on an image of 0x64 \(--size'):
        measure_config(Config(cfg.to_dict()), (0, 64))
    cfg.model.decode_head.type = 'Unheard'
    with pytest.raises(UserError, match='the model of .* cannot be built: KeyError'):
        measure_config(cfg)
    cfg.pop('model')
    with pytest.raises(UserError, match='has no model'):
        measure_config(cfg)


def test_the_command_line(tmp_path):
    config = write_config('classifier', tmp_path)
    done = fork_tool('analyze_model.py', config, '--size', '64', '96')
    assert done.returncode == 0, done.stderr
    assert 'tiny_classifier.py, 64x96 (height x width), not fused' in done.stdout
    rows = [line.split('│')[1:4] for line in done.stdout.splitlines() if '│' in line]
    rows = {name.strip(): (params, macs) for name, params, macs in rows}
    parts = measure_config(load('classifier', tmp_path, tmp_path), (64, 96))[0]
    for part in parts:
        params, macs = map(float, rows[part.name])
        assert params == round(part.params / 1e6, 3)
        assert macs == round(part.macs / 1e9, 3)
    assert len(rows) == len(parts)
    done = fork_tool('analyze_model.py', config, '--size', '0', '96')
    assert_one_line_error(done, 'cannot be run on an image of 0x96')
    done = fork_tool('analyze_model.py', tmp_path / 'none.py')
    assert_one_line_error(done, 'there is no config')


def test_a_table_says_what_is_not_known():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 1, bias=False)

        def forward(self, image, mode):
            return self.conv(image)

    parts = measure_parts(Model(), (10, 10))
    assert [(p.name, p.params, p.macs) for p in parts] == [
        ('conv', 12, 1200),
        ('whole model', 12, 1200),
    ]
    assert make_table(parts, 'title').row_count == 2
    assert torch.is_grad_enabled()
