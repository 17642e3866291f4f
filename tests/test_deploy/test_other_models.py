"""Models that are not the usual ones, from a checkpoint to what their files predict."""

import shutil

import cv2
import numpy as np
import pytest
from helpers.tiny_models import TWO_BLOCKS, load, write_checkpoint, write_imagenet
from mmengine.config import Config

from mmrapidnet.apis.inference import infer
from mmrapidnet.apis.test import test as run_test
from mmrapidnet.deploy.export import export
from mmrapidnet.deploy.inference import ExportedModel
from mmrapidnet.utils.errors import UserError

SUFFIXES = dict(onnx='.onnx', openvino='.xml', ncnn='.ncnn.param')
COLOUR_TYPES = {1: 'grayscale', 4: 'unchanged'}


def write_many_channels(root, channels):
    """A copy of Shapes whose images are grey, or have a channel of opacity."""
    shutil.copytree(root[0], root[1])
    for path in sorted(root[1].glob('images/*/*.jpg')):
        image = cv2.imread(str(path))
        if channels == 1:
            image = image[..., 1]
        else:
            image = np.dstack([image, 255 - image[..., 0]])
        path.unlink()
        cv2.imwrite(str(path.with_suffix('.png')), image)
    return root[1]


def change_channels(cfg, channels, norm):
    """Let a config's model and pipeline take images of so many channels."""
    cfg.model.backbone.in_channels = channels
    preprocessor = cfg.model.get('data_preprocessor') or cfg.data_preprocessor
    for key in ('bgr_to_rgb', 'to_rgb'):
        if key in preprocessor:
            preprocessor[key] = False
    preprocessor.update(norm)
    for transform in cfg.test_dataloader.dataset.pipeline:
        if transform['type'] == 'LoadImageFromFile':
            transform['color_type'] = COLOUR_TYPES[channels]
    return cfg


@pytest.fixture(scope='module', params=[1, pytest.param(4, marks=pytest.mark.slow)])
def segmenter(request, shapes_root, tmp_path_factory):
    """A segmenter's number of channels, config, checkpoint and data."""
    channels = request.param
    folder = tmp_path_factory.mktemp(f'channels{channels}')
    root = write_many_channels((shapes_root / 'ade', folder / 'ade'), channels)
    cfg = load('segmenter', folder, root, TWO_BLOCKS)
    cfg.test_dataloader.dataset.img_suffix = '.png'
    norm = dict(mean=[100.0 + i for i in range(channels)], std=[50.0] * channels)
    cfg = change_channels(cfg, channels, norm)
    return channels, cfg, str(write_checkpoint(cfg, folder / 'seg.pth')), root


@pytest.mark.parametrize('format', list(SUFFIXES))
def test_a_segmenter_of_other_channels(segmenter, format, tmp_path):
    """It is exported, tested and drawn as its checkpoint is."""
    channels, cfg, checkpoint, root = segmenter
    cfg.work_dir = str(tmp_path / 'run')
    out = tmp_path / f'model{SUFFIXES[format]}'
    size = (64, 96) if format == 'openvino' else None
    report = export(Config(cfg.to_dict()), checkpoint, format, out, size=size)
    assert all(d.is_tolerable for d in report.differences)
    taken = ExportedModel(out).metadata['input']
    assert taken['channels'] == channels
    assert taken['channel_order'] == {1: 'gray', 4: 'bgra'}[channels]
    wanted = rf'which takes uint8 \(height, width, {channels}\)$'
    with pytest.raises(UserError, match=wanted):
        ExportedModel(out)(np.zeros((64, 96, 3), np.uint8))

    if format == 'onnx':
        image = next(root.glob('images/validation/*.png'))
        for path in (checkpoint, str(out)):
            infer(Config(cfg.to_dict()), path, [str(image)], str(tmp_path / 'drawn'))
            assert (tmp_path / 'drawn' / 'vis' / image.name).is_file()
        metrics = [run_test(Config(cfg.to_dict()), p) for p in (checkpoint, str(out))]
        assert metrics[0] == pytest.approx(metrics[1], abs=0.1)


@pytest.mark.parametrize('channels', [4, pytest.param(1, marks=pytest.mark.slow)])
def test_a_classifier_of_other_channels(channels, tmp_path):
    root = write_imagenet(tmp_path / 'imagenet')
    if channels == 4:
        for path in (root / 'val').iterdir():
            image = cv2.imread(str(path))
            cv2.imwrite(str(path), np.dstack([image, image[..., :1]]))
    cfg = load('classifier', tmp_path, root, TWO_BLOCKS)
    cfg = change_channels(cfg, channels, dict(mean=[100.0], std=[50.0]))
    cfg.work_dir = str(tmp_path / 'run')
    checkpoint = str(write_checkpoint(cfg, tmp_path / 'model.pth'))
    out = tmp_path / 'model.onnx'
    export(Config(cfg.to_dict()), checkpoint, 'onnx', out)
    metrics = [run_test(Config(cfg.to_dict()), p) for p in (checkpoint, str(out))]
    assert metrics[0] == metrics[1]
    image = root / 'val' / '0.png'
    for path in (checkpoint, str(out)):
        infer(Config(cfg.to_dict()), path, [str(image)], str(tmp_path / 'drawn'))


@pytest.mark.slow
def test_a_detector_without_masks(shapes_root, tmp_path):
    """It is exported, tested and drawn as its checkpoint is."""
    cfg = load('detector', tmp_path, shapes_root / 'coco', TWO_BLOCKS)
    cfg.model.roi_head.update(mask_roi_extractor=None, mask_head=None)
    cfg.test_evaluator.metric = 'bbox'
    cfg.work_dir = str(tmp_path / 'run')
    checkpoint = str(write_checkpoint(cfg, tmp_path / 'model.pth'))
    out = tmp_path / 'model.onnx'
    report = export(Config(cfg.to_dict()), checkpoint, 'onnx', out)
    assert report.metadata['outputs'] == ['boxes', 'scores', 'labels']
    assert all(d.is_tolerable for d in report.differences)
    metrics = [run_test(Config(cfg.to_dict()), p) for p in (checkpoint, str(out))]
    assert metrics[0] == pytest.approx(metrics[1], abs=2e-3)
    image = next((shapes_root / 'coco' / 'val2017').glob('*.jpg'))
    infer(Config(cfg.to_dict()), str(out), [str(image)], str(tmp_path / 'drawn'))
    assert (tmp_path / 'drawn' / 'vis' / image.name).is_file()
