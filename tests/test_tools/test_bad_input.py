"""What bad input gets: one line, a non-zero exit, no traceback."""

import shutil

import pytest
import torch
from helpers.commands import assert_one_line_error, run_tool
from helpers.tool_server import fork_tool

from mmrapidnet.models import RapidNet

DET = 'configs/maskrcnn_rapidnet_ti_shapes.py'
SEG = 'configs/semfpn_rapidnet_ti_shapes.py'
LAYOUT = 'expected there: annotations/instances_'


@pytest.fixture(scope='session')
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp('weights') / 'backbone.pth'
    torch.save(RapidNet(arch='s').state_dict(), path)
    return path


def train(root, tmp_path, *arguments, config=DET):
    where = ('--data-root', root, '--work-dir', tmp_path / 'run')
    return fork_tool('train.py', config, *where, *arguments)


def test_config_that_is_not_there():
    done = run_tool('train.py', 'configs/nowhere.py')
    assert_one_line_error(done, 'there is no config configs/nowhere.py')


@pytest.mark.parametrize('tool', ['train.py', 'test.py'])
def test_data_set_that_is_not_there(tool, weights, tmp_path):
    checkpoint = [weights] if tool == 'test.py' else []
    done = fork_tool(tool, DET, *checkpoint, '--data-root', tmp_path / 'nowhere')
    assert_one_line_error(done, 'no data set at', LAYOUT, '`make quickstart` needs no')


def test_annotations_that_are_missing_or_damaged(shapes_root, tmp_path):
    root = tmp_path / 'coco'
    shutil.copytree(shapes_root / 'coco', root)
    annotations = root / 'annotations' / 'instances_val2017.json'
    annotations.write_bytes(annotations.read_bytes()[:200])
    done = train(root, tmp_path)
    assert_one_line_error(done, 'instances_val2017.json is not an annotation file')
    annotations.unlink()
    done = train(root, tmp_path)
    assert_one_line_error(done, 'instances_val2017.json is missing', LAYOUT)


def test_label_maps_that_are_missing(shapes_root, tmp_path):
    shutil.copytree(shapes_root / 'ade', tmp_path / 'ade')
    shutil.rmtree(tmp_path / 'ade' / 'annotations' / 'training')
    done = train(tmp_path / 'ade', tmp_path, config=SEG)
    assert_one_line_error(done, 'annotations/training is missing; expected there: im')


def test_arguments_of_the_backbone(shapes_root, tmp_path):
    root = shapes_root / 'coco'
    done = train(root, tmp_path, '--cfg-options', 'model.backbone.arch=xl')
    assert_one_line_error(done, "unknown arch 'xl' of RapidNet: choose one of ti, s, m")
    option = 'model.backbone.out_indices=(0,1,2,4)'
    done = train(root, tmp_path, '--cfg-options', option)
    assert_one_line_error(done, 'out_indices=(0, 1, 2, 4) is not a choice of stages')


def test_checkpoint_that_is_not_there(shapes_root, tmp_path):
    for option in ('--resume', '--pretrained'):
        done = train(shapes_root / 'coco', tmp_path, option, 'nowhere.pth')
        assert_one_line_error(done, 'checkpoint nowhere.pth does not exist')
    done = fork_tool('test.py', DET, 'nowhere.pth', '--data-root', shapes_root / 'coco')
    assert_one_line_error(done, 'checkpoint nowhere.pth does not exist')


def test_checkpoint_of_another_arch(weights, shapes_root, tmp_path):
    root = shapes_root / 'coco'
    done = train(root, tmp_path, '--pretrained', weights)
    assert_one_line_error(done, 'backbone.pth does not fit RapidNet', 'same arch')
    done = train(root, tmp_path, '--resume', weights)
    assert_one_line_error(done, 'backbone.pth cannot be resumed', 'load_from=')
    done = fork_tool('test.py', DET, weights, '--data-root', root)
    assert_one_line_error(done, 'backbone.pth matches nothing of MaskRCNN')


def test_truncated_checkpoint(weights, shapes_root, tmp_path):
    cut = tmp_path / 'cut.pth'
    cut.write_bytes(weights.read_bytes()[:100_000])
    root = shapes_root / 'coco'
    for option in ('--pretrained', '--resume'):
        done = train(root, tmp_path, option, cut)
        assert_one_line_error(done, 'cut.pth is truncated or not a checkpoint')
    done = fork_tool('test.py', DET, cut, '--data-root', root)
    assert_one_line_error(done, 'cut.pth is truncated or not a checkpoint')
