"""Whole models, tested and trained, in the runtimes that are here."""

import numpy as np
import pytest
import torch
from helpers.tiny_models import write_checkpoint, write_config
from mmengine.registry import DefaultScope

from dev.benchmark import dense_cases
from dev.benchmark.dense_cases import ConfiguredModel, draw_example, list_dense
from dev.benchmark.train_cases import draw_batch, list_training
from dev.model_zoo.classifiers import Complexity
from mmrapidnet.apis.complexity import count_parameters
from mmrapidnet.config.load import load_config
from mmrapidnet.deploy.formats import load_format
from mmrapidnet.utils.errors import UserError

HERE = ('cpu', 1, 'nowhere')


@pytest.fixture(scope='module')
def tiny(tmp_path_factory):
    """Small models with weights, and a picture."""
    folder = tmp_path_factory.mktemp('tiny')
    sources = {}
    for kind in ('detector', 'segmenter'):
        config = write_config(kind, folder)
        checkpoint = folder / f'{kind}.pth'
        write_checkpoint(load_config(str(config)), checkpoint)
        sources[kind] = ConfiguredModel(str(config), str(checkpoint), resize=(96, 128))
    return sources, draw_example(folder, (120, 160))


def infer_by_library(source, image):
    """What mmdet's or mmseg's own function gives, and the model's parameters."""
    from mmdet.apis import inference_detector
    from mmseg.apis import inference_model

    cfg, model = source.read(), source.build()
    model.cfg = cfg
    cfg.test_pipeline = cfg.test_dataloader.dataset.pipeline
    infer = inference_detector if cfg.default_scope == 'mmdet' else inference_model
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        return infer(model, str(image)), count_parameters(model)


def test_segments_as_the_library_does(tiny):
    sources, image = tiny
    eager, fused = list_dense(sources['segmenter'], ('eager', 'fused'), image, *HERE)
    assert eager.group == ('image file to result', (96, 128), 1)
    expected, params = infer_by_library(sources['segmenter'], image)
    found, again = eager.open()(), fused.open()()
    assert found.pred_sem_seg.data.shape == (1, 120, 160)
    assert torch.equal(found.pred_sem_seg.data, expected.pred_sem_seg.data)
    same = again.pred_sem_seg.data == expected.pred_sem_seg.data
    assert same.float().mean() > 0.99
    assert eager.describe(found) == {}
    cost = eager.complexity()
    assert cost.params == params
    assert cost.macs > 0


def test_detects_as_the_library_does(tiny):
    sources, image = tiny
    (eager,) = list_dense(sources['detector'], ('eager',), image, *HERE)
    expected, params = infer_by_library(sources['detector'], image)
    result = eager.open()()
    found, expected = result.pred_instances, expected.pred_instances
    assert len(expected) > 0
    assert torch.equal(found.bboxes, expected.bboxes)
    assert torch.equal(found.masks, expected.masks)
    assert found.masks.shape[1:] == (120, 160)
    assert eager.describe(result) == {'detections': len(expected)}
    assert eager.complexity() == Complexity(params, None)


def test_int8_is_calibrated_on_images_of_the_data_set(tiny, monkeypatch, tmp_path):
    def write(graph, example, path, metadata, calibration):
        raise StopIteration([image.shape for image in calibration])

    sources, image = tiny
    monkeypatch.setattr(load_format('openvino'), 'write', write)
    monkeypatch.setattr(
        dense_cases,
        'find_calibration_images',
        lambda cfg: [str(image)] if cfg.filename == source.config else [],
    )
    source = sources['segmenter']
    where = ('cpu', 1, str(tmp_path))
    (case,) = list_dense(source, ('openvino-int8',), image, *where)
    with pytest.raises(StopIteration) as written:
        case.open()
    assert written.value.value == [(1, 3, 96, 128)]


def test_size_is_what_the_network_sees(tmp_path):
    """The usual picture of COCO, padded to multiples of 32."""
    source = ConfiguredModel('configs/maskrcnn_rapidnet_s_coco.py')
    image = draw_example(tmp_path, (427, 640))
    (case,) = list_dense(source, ('eager',), image, *HERE)
    assert case.size == (800, 1216)
    assert case.name == 'maskrcnn_rapidnet_s_coco/eager'


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (dict(image='no.png'), 'there is no image no.png'),
        (dict(image=__file__), 'is not an image that can be read'),
        (dict(config='configs/rapidnet_ti_in1k.py'), 'give the config of a detector'),
        (dict(config='none.py'), 'there is no config none.py'),
        (dict(checkpoint='none.pth'), 'none.pth'),
    ],
)
def test_wrong_requests_for_whole_models(tiny, changes, message):
    sources, image = tiny
    request = dict(config=sources['segmenter'].config, checkpoint=None, image=image)
    request |= changes
    source = ConfiguredModel(request['config'], request['checkpoint'])
    with pytest.raises(UserError, match=message):
        list_dense(source, ('eager',), request['image'], *HERE)


def test_training_steps_learn(tiny):
    sources, _ = tiny
    names = ('eager', 'channels_last')
    cases = list_training(sources['segmenter'], names, (64, 96), 2, *HERE)
    firsts = []
    for case in cases:
        assert case.group == ('training step', (64, 96), 2)
        step = case.open()
        losses = [case.describe(step())['loss'] for _ in range(4)]
        assert losses[-1] < losses[0]
        firsts.append(losses[0])
    assert firsts[0] == pytest.approx(firsts[1], rel=1e-4)


def test_training_step_of_a_detector(tiny):
    sources, _ = tiny
    (case,) = list_training(sources['detector'], ('eager',), (64, 96), 2, *HERE)
    result = case.open()()
    assert {'loss_rpn_cls', 'loss_cls', 'loss_bbox', 'loss_mask'} < set(result)
    assert 0 < result['loss_mask'] < 10


WITHOUT_NECK = """
_base_ = '{base}'
model = dict(
    _delete_=True,
    type='EncoderDecoder',
    data_preprocessor=dict(type='SegDataPreProcessor', size=(64, 96)),
    backbone=dict(
        type='RapidNet',
        arch=dict(
            channels=(8, 8, 8, 8),
            local_blocks=(1,) * 4,
            global_blocks=(0,) * 4,
        ),
    ),
    decode_head=dict(type='FCNHead', in_channels=8, channels=8, num_classes=7),
    train_cfg=dict(),
    test_cfg=dict(mode='whole'),
)
"""


def test_a_model_without_neck(tiny, tmp_path):
    sources, image = tiny
    config = tmp_path / 'without_neck.py'
    config.write_text(WITHOUT_NECK.format(base=sources['segmenter'].config))
    source = ConfiguredModel(str(config), resize=(96, 128))
    assert not source.build().with_neck
    expected, params = infer_by_library(source, image)
    (eager,) = list_dense(source, ('eager',), image, *HERE)
    found = eager.open()()
    assert found.pred_sem_seg.data.shape == expected.pred_sem_seg.data.shape
    assert eager.complexity().params == params
    (train,) = list_training(source, ('eager',), (64, 96), 1, *HERE)
    assert train.open()()['loss'].item() > 0


def test_ground_truth_is_drawn(tiny):
    sources, _ = tiny
    images, samples = draw_batch(sources['detector'].read(), (64, 96), 3)
    assert all(image.shape == (3, 64, 96) for image in images)
    assert sum(len(sample.gt_instances) for sample in samples) > 0
    for sample in samples:
        truth = sample.gt_instances
        for box, mask in zip(truth.bboxes.tolist(), truth.masks.masks):
            rows, columns = np.nonzero(mask)
            extent = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
            assert tuple(box) == extent
    images, samples = draw_batch(sources['segmenter'].read(), (64, 96), 1)
    labels = samples[0].gt_sem_seg.data
    assert labels.shape == (1, 64, 96)
    assert set(labels.unique().tolist()) <= {0, 1, 2, 3, 4, 5, 6, 255}
    assert {0, 255} < set(labels.unique().tolist())


def test_what_cannot_train(tiny):
    sources, _ = tiny
    for runtime in ('fused', 'openvino'):
        with pytest.raises(UserError, match=f'{runtime} is for evaluation only'):
            list_training(sources['segmenter'], (runtime,), None, 1, *HERE)


def test_shapes_of_training_images(tiny):
    sources, _ = tiny
    for kind, size in (('detector', (800, 1216)), ('segmenter', (512, 512))):
        (case,) = list_training(sources[kind], ('eager',), None, 1, *HERE)
        assert case.size == size
