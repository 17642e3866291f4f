"""Other heads of the libraries: each builds, takes one training step and predicts."""

from functools import cache

import pytest
import torch
from helpers.commands import REPO
from helpers.one_step import SMALL, synthetic_batch, take_step
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope

from mmrapidnet.config.load import load_config
from mmrapidnet.datasets import shapes as data

# What makes heads that compute much on an image of any size cheap.
FEW_BOXES = {
    'test_cfg.rpn.max_per_img': 20,
    'test_cfg.rcnn.score_thr': 0.0,
    'test_cfg.rcnn.max_per_img': 5,
}
DENSE = {'test_cfg.score_thr': 0.0, 'test_cfg.max_per_img': 10}
DETECTORS = {
    'retinanet_rapidnet_s_coco': DENSE,
    'fcos_rapidnet_s_coco': DENSE,
    'gfl_rapidnet_s_coco': DENSE,
    'rtmdet_rapidnet_s_coco': DENSE,
    'faster_rcnn_rapidnet_s_coco': {**FEW_BOXES, 'train_cfg.rcnn.sampler.num': 16},
}
WITH_MASKS = {
    'cascade_mask_rcnn_rapidnet_s_coco': {
        **FEW_BOXES,
        **{f'train_cfg.rcnn.{stage}.sampler.num': 16 for stage in range(3)},
        **{f'roi_head.bbox_head.{stage}.fc_out_channels': 64 for stage in range(3)},
        'roi_head.mask_head.num_convs': 1,
    },
    'rtmdet_ins_rapidnet_ti_coco': DENSE,
    'rtmdet_ins_rapidnet_ti_shapes': DENSE,
    'condinst_rapidnet_s_coco': DENSE,
    'solov2_light_rapidnet_s_coco': {
        **DENSE,
        'test_cfg.filter_thr': 0.0,
        'mask_head.num_grids': [8, 6, 4, 3, 2],
    },
    'mask2former_rapidnet_s_coco': {
        'data_preprocessor.batch_augments': None,
        'panoptic_head.num_queries': 10,
        'panoptic_head.pixel_decoder.encoder.num_layers': 1,
        'panoptic_head.transformer_decoder.num_layers': 2,
        'train_cfg.num_points': 128,
        'test_cfg.max_per_image': 10,
    },
    'panoptic_fpn_rapidnet_s_coco': {
        **FEW_BOXES,
        'train_cfg.rcnn.sampler.num': 16,
        'test_cfg.panoptic.stuff_area_limit': 1,
    },
}
SEGMENTERS = {
    'segformer_rapidnet_s_ade20k': {},
    'upernet_rapidnet_s_ade20k': {'decode_head.channels': 32},
    'deeplabv3plus_rapidnet_s_ade20k': {},
    'semfpn_lite_rapidnet_ti_ade20k': {},
}
# A stage's blocks are all alike.
FEW_BLOCKS = dict(local_blocks=(1, 1, 1, 1), global_blocks=(0, 0, 1, 1))
CHANNELS = [32, 64, 112, 224]


@cache
def read(name: str) -> Config:
    """A config that is looked at and not changed."""
    return load_config(str(REPO / 'configs' / f'{name}.py'))


def build(name: str, changes: dict) -> tuple[torch.nn.Module, Config]:
    """A config's model with one block of each kind per stage, and its config."""
    cfg = load_config(str(REPO / 'configs' / f'{name}.py'))
    cfg.model.backbone.arch = dict(channels=CHANNELS, **FEW_BLOCKS)
    cfg.model.backbone.drop_path_rate = 0.0
    cfg.merge_from_dict({f'model.{key}': value for key, value in changes.items()})
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        torch.manual_seed(0)
        model = MODELS.build(cfg.model)
    model.init_weights()
    return model, cfg


def train_and_predict(name: str, changes: dict, num_classes: int, **kwargs) -> list:
    """Take a step, which must reach every parameter, and predict."""
    model, cfg = build(name, changes)
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        batch = synthetic_batch(cfg.default_scope, num_classes, **kwargs)
        assert take_step(model, cfg, batch) == set()
        batch = synthetic_batch(cfg.default_scope, num_classes)
        with torch.no_grad():
            predictions = model.eval().test_step(batch)
    assert len(predictions) == 2
    return predictions


def assert_objects(found, num_classes: int, masks: bool) -> None:
    assert 0 < len(found.scores) <= 100
    assert found.bboxes.shape == (len(found.scores), 4)
    assert found.labels.min() >= 0 and found.labels.max() < num_classes
    assert ('masks' in found) == masks
    if masks:
        assert found.masks.shape == (len(found.scores), SMALL, SMALL)


@pytest.mark.parametrize('name', DETECTORS)
def test_detectors(name):
    for sample in train_and_predict(name, DETECTORS[name], 80, with_mask=False):
        assert_objects(sample.pred_instances, 80, masks=False)


@pytest.mark.parametrize('name', WITH_MASKS)
def test_detectors_with_masks(name):
    num_classes = len(data.CLASSES) if name.endswith('_shapes') else 80
    stuff = name.startswith('panoptic')
    kwargs = dict(with_semantic=stuff)
    for sample in train_and_predict(name, WITH_MASKS[name], num_classes, **kwargs):
        if stuff:
            # Of stuff only, or of things as well.
            assert sample.pred_panoptic_seg.sem_seg.shape == (1, SMALL, SMALL)
        else:
            assert_objects(sample.pred_instances, num_classes, masks=True)


@pytest.mark.parametrize('name', SEGMENTERS)
def test_segmenters(name):
    num_classes = len(data.SEG_CLASSES) if name.endswith('_shapes') else 150
    changes = {'data_preprocessor.size': (SMALL, SMALL), **SEGMENTERS[name]}
    for sample in train_and_predict(name, changes, num_classes):
        assert sample.seg_logits.data.shape == (num_classes, SMALL, SMALL)
        assert sample.pred_sem_seg.data.shape == (1, SMALL, SMALL)


def test_poses():
    """RTMPose's SimCC head: a score for each column and row of each keypoint."""
    testing = pytest.importorskip('mmpose.testing')
    model, cfg = build('rtmpose_rapidnet_s_coco', {'test_cfg.flip_test': False})
    with DefaultScope.overwrite_default_scope('mmpose'):
        batch = testing.get_packed_inputs(2, with_simcc_label=True)
        assert take_step(model, cfg, batch) == set()
        batch = testing.get_packed_inputs(2)
        with torch.no_grad():
            first, _ = model.eval().test_step(batch)
    assert first.pred_instances.keypoints.shape == (1, 17, 2)


ALL = [*DETECTORS, *WITH_MASKS, *SEGMENTERS]


@pytest.mark.parametrize('name', [n for n in ALL if not n.endswith('_shapes')])
def test_leaves(name):
    """A few lines over the library's recipe; the backbone is that of the others."""
    cfg, task = (
        read(name),
        'maskrcnn' if read(name).default_scope == 'mmdet' else 'semfpn',
    )
    arch, data_set = name.split('_')[-2:]
    backbone = cfg.model.backbone.to_dict()
    out = backbone.pop('out_indices', None)
    assert out == ((1, 2, 3) if name.startswith('rtmdet') else None)
    other = read(f'{task}_rapidnet_{arch}_{data_set}').model.backbone.to_dict()
    assert backbone == other
    assert cfg.optim_wrapper.optimizer.type == 'AdamW'
    preprocessor = cfg.model.data_preprocessor
    assert preprocessor.bgr_to_rgb and preprocessor.mean[0] == 123.675
    lines = (REPO / 'configs' / f'{name}.py').read_text().splitlines()
    assert len(lines) <= 27


@pytest.mark.parametrize(
    ('name', 'twin'),
    [
        ('rtmdet_ins_rapidnet_ti_coco', 'rtmdet_ins_rapidnet_ti_shapes'),
        ('semfpn_lite_rapidnet_ti_ade20k', 'semfpn_rapidnet_ti_shapes'),
    ],
)
def test_twins_on_shapes_have_the_same_heads(name, twin):
    one, other = (read(each).model.to_dict() for each in (name, twin))
    for model in (one, other):
        for key in ('backbone', 'data_preprocessor', '_scope_'):
            model.pop(key, None)
        for part in (model['neck'], model.get('bbox_head') or model['decode_head']):
            part.pop('norm_cfg', None)
            part.pop('num_classes', None)
    assert one == other
