"""The metric on some images of the test set, of files and of networks in memory."""

import os
from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
from helpers import in_a_child
from helpers.exported_files import convert_once
from helpers.tiny_models import TWO_BLOCKS, GraphSession, load, write_checkpoint

from mmrapidnet.apis import accuracy_control, isolated_export
from mmrapidnet.apis.accuracy_control import export_controlled, measuring
from mmrapidnet.apis.isolated_export import export_precision
from mmrapidnet.apis.points import measure_points, read_points, take_images
from mmrapidnet.apis.test import test as run_test
from mmrapidnet.checkpoints.state_dict import read_checkpoint
from mmrapidnet.deploy import adapters, verify
from mmrapidnet.deploy.export import Report
from mmrapidnet.deploy.fuse import fuse
from mmrapidnet.deploy.graphs import build_graph
from mmrapidnet.deploy.inference import ExportedModel, read_settings
from mmrapidnet.deploy.loading import load_model
from mmrapidnet.deploy.metadata import describe
from mmrapidnet.utils.errors import UserError

ROOMS = {'segmenter': 'ade', 'detector': 'coco'}


@pytest.fixture(scope='module', params=list(ROOMS))
def made(request, shapes_root, tmp_path_factory):
    """A config, the path of a checkpoint, and its graph as a session."""
    kind, folder = request.param, tmp_path_factory.mktemp(request.param)
    cfg = load(kind, folder, shapes_root / ROOMS[kind], TWO_BLOCKS)
    cfg.work_dir = str(folder / 'run')
    checkpoint = str(write_checkpoint(cfg, folder / 'weights.pth'))
    model = fuse(load_model(cfg, read_checkpoint(checkpoint), checkpoint))
    graph = build_graph(model)
    metadata = describe(cfg, graph, 'fp32', checkpoint)
    metadata['settings'] = read_settings(model, graph)
    return cfg, checkpoint, GraphSession(graph, metadata)


def test_some_images(made):
    """Spread over the test set; the config stays as it is."""
    cfg, checkpoint, _ = made
    some = _copy(cfg, indices=[0, 2, 5])
    found = measure_points(cfg, checkpoint, 3)
    assert cfg.test_dataloader.dataset.get('indices') is None
    assert found == pytest.approx(read_points(run_test(_copy(some), checkpoint)))
    take_images(some, 2)
    assert some.test_dataloader.dataset.indices == [0, 5]


def _copy(cfg, **dataset):
    cfg = deepcopy(cfg)
    cfg.merge_from_dict({f'test_dataloader.dataset.{k}': v for k, v in dataset.items()})
    return cfg


@pytest.fixture
def measure(made, monkeypatch):
    """Measures a network as the file of an export would be, of a size."""
    cfg, _, session = made

    class File(ExportedModel):
        def __init__(self, path, isolated):
            self.path, self.metadata, self._session = path, session.metadata, session

    monkeypatch.setattr(adapters, 'ExportedModel', File)

    def measure(run, size, numbers):
        report = Report(Path('model.onnx'), size, session.metadata, [])
        with measuring(cfg, report, 6) as metric:
            assert len(metric) == 6
            return metric(run, numbers)

    return measure


def test_a_network_in_memory(made, measure):
    cfg, checkpoint, session = made
    expected = np.mean(list(measure_points(cfg, checkpoint, 6).values()))
    # mmdet rounds to a tenth of a point.
    assert measure(session, (192, 192), range(6)) == pytest.approx(expected, abs=0.11)


def test_images_are_stretched_to_the_one_size(made, measure):
    _, _, session = made
    shapes = []

    def run(image):
        shapes.append(image.shape)
        return session(image)

    assert -100 <= measure(run, (96, 128), [1, 4]) <= 100
    assert shapes == [(1, 3, 96, 128)] * 2


def test_numbers_and_metrics_that_make_no_sense(made):
    cfg, *_ = made
    with pytest.raises(UserError, match='--metric-images 0: at least one is needed'):
        take_images(cfg, 0)
    with pytest.raises(UserError, match='gives NME, but none of bbox_mAP, .*choose a'):
        read_points({'NME': 0.1})
    assert read_points({'accuracy/top1': 71.5, 'accuracy/top5': 9.0}) == {
        'accuracy/top1': 71.5
    }


def test_int8_is_made_in_a_process_of_its_own(tmp_path, monkeypatch):
    """Which may die; whatever happens, no part of a file is left."""
    cfg = load('segmenter', tmp_path, tmp_path)
    out = tmp_path / 'out' / 'model.xml'
    out.parent.mkdir()

    def run(images):
        asked = (cfg, 'weights.pth', 'openvino', out, 0.5, images)
        return export_controlled(*asked, calibration_images=3)

    monkeypatch.setattr(accuracy_control, 'export_here', in_a_child.die)
    with pytest.raises(UserError) as error:
        run(2)
    assert str(error.value) == (
        'int8 cannot be held to the metric on this machine (leave --max-drop out, or '
        'take another precision): the process that did it died of SIGKILL (Killed)'
    )
    monkeypatch.setattr(accuracy_control, 'export_here', in_a_child.pretend)
    with pytest.raises(UserError, match=f'^{out} was not written: no images$'):
        run(0)
    assert not list(out.parent.iterdir())
    report = run(2)
    assert report.path == out and report.metadata['process'] != os.getpid()
    assert out.read_text() == (
        "mmseg weights.pth openvino 0.5 {'calibration_images': 3}"
    )
    monkeypatch.setattr(isolated_export, 'export', in_a_child.die)
    with pytest.raises(UserError) as error:
        export_precision(cfg, 'weights.pth', 'openvino', out, precision='int8')
    assert str(error.value) == (
        'int8 cannot be made on this machine (take another precision): the process '
        'that did it died of SIGKILL (Killed)'
    )


class Here:
    """A child that is this process, with what a test has patched."""

    def __init__(self, patience):
        assert patience == 0

    def call(self, what, function, *arguments):
        return function(*arguments)


@pytest.mark.slow
def test_int8_that_keeps_the_metric(shapes_root, tmp_path, monkeypatch):
    convert_once(monkeypatch)
    monkeypatch.setattr(isolated_export, 'Child', Here)
    # Of random weights, calibrated on two images.
    monkeypatch.setitem(verify.TOLERANCES, 'int8', 1.0)
    cfg = load('segmenter', tmp_path, shapes_root / 'ade', TWO_BLOCKS)
    checkpoint = str(write_checkpoint(cfg, tmp_path / 'weights.pth'))
    arguments = dict(max_drop=100.0, images=2, calibration_images=2)
    report = export_controlled(
        cfg, checkpoint, 'openvino', tmp_path / 'model.xml', **arguments
    )
    assert report.metadata['input']['size'] == [192, 192]
    found = ExportedModel(report.path, threads=1).metadata['accuracy_control']
    assert found == report.metadata['accuracy_control']
    (miou,) = measure_points(cfg, checkpoint, 2).values()
    assert found['float'] == pytest.approx(miou, abs=0.1)
    assert (found['max_drop'], found['images'], found['ignored']) == (100.0, 2, [])
    with pytest.raises(UserError, match='onnx cannot hold int8 to a metric'):
        export_controlled(cfg, checkpoint, 'onnx', tmp_path / 'model.onnx', 0.5)
