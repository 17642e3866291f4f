"""An exported Panoptic FPN through the tools: its maps are those of the checkpoint."""

import cv2
import numpy as np
import pytest
from helpers import tiny_panoptic
from helpers.tiny_models import GraphSession
from mmengine.fileio import load

from mmrapidnet.apis.inference import infer
from mmrapidnet.apis.test import test as run_test
from mmrapidnet.apis.train import train
from mmrapidnet.checkpoints.state_dict import read_checkpoint
from mmrapidnet.config import panoptic
from mmrapidnet.deploy import inference
from mmrapidnet.deploy.export import export
from mmrapidnet.deploy.fuse import fuse
from mmrapidnet.deploy.graphs import build_graph
from mmrapidnet.deploy.loading import load_model
from mmrapidnet.deploy.metadata import describe, from_text, to_text
from mmrapidnet.utils.errors import UserError

THINGS = len(tiny_panoptic.THINGS)


@pytest.fixture(scope='module')
def made(tmp_path_factory):
    """The path of a config, that of a checkpoint, and the root of the data."""
    root = tmp_path_factory.mktemp('panoptic') / 'coco'
    return *tiny_panoptic.write(root), root


@pytest.fixture
def read_config(made, tmp_path):
    """The config, which keeps the predictions and needs no panopticapi."""

    def read(name):
        cfg = tiny_panoptic.load(made[0], made[2])
        pipeline = cfg.test_dataloader.dataset.pipeline
        cfg.test_dataloader.dataset.pipeline = [
            step for step in pipeline if step.type != 'LoadPanopticAnnotations'
        ]
        out = str(tmp_path / f'{name}.pkl')
        cfg.test_evaluator = dict(type='DumpDetResults', out_file_path=out)
        cfg.work_dir, cfg.experiment_name = str(tmp_path / 'run'), name
        return cfg, out

    return read


def find_maps(read_config, name, path):
    """The panoptic maps of the test set."""
    cfg, out = read_config(name)
    run_test(cfg, str(path))
    found = [sample['pred_panoptic_seg']['sem_seg'].numpy() for sample in load(out)]
    assert [array.shape for array in found] == [(1, 96, 128)] * 2
    return np.concatenate(found)


def assert_alike(found, expected):
    # Near ties fall either way.
    assert (found != expected).mean() < 1e-3
    kinds = np.unique(expected)
    assert (kinds > 1000).any() and ((kinds >= THINGS) & (kinds < 1000)).any()


def test_a_file_is_tested_and_drawn(made, read_config, monkeypatch, tmp_path):
    _, checkpoint, root = made
    cfg, _ = read_config('any')
    model = fuse(load_model(cfg, read_checkpoint(str(checkpoint)), str(checkpoint)))
    graph = build_graph(model)
    metadata = describe(cfg, graph, 'fp32', str(checkpoint))
    metadata['settings'] = inference.read_settings(model, graph)
    session = GraphSession(graph, from_text(to_text(metadata), 'a file'))
    monkeypatch.setattr(inference, 'IsolatedSession', lambda *_, **__: session)
    expected = find_maps(read_config, 'checkpoint', checkpoint)
    assert_alike(find_maps(read_config, 'file', 'any.onnx'), expected)

    image, pictures = root / 'val2017' / '1.jpg', []
    for path in (checkpoint, 'any.onnx'):
        out = tmp_path / f'drawn{len(pictures)}'
        infer(read_config('drawn')[0], str(path), [str(image)], str(out), device='cpu')
        pictures.append(cv2.imread(str(out / 'vis' / image.name)).astype(int))
    assert (np.abs(pictures[0] - pictures[1]) > 20).mean() < 0.01
    assert np.abs(pictures[0] - cv2.imread(str(image))).mean() > 5


@pytest.mark.slow
def test_an_onnx_file_has_the_maps_of_its_checkpoint(made, read_config, tmp_path):
    _, checkpoint, _ = made
    out = tmp_path / 'panoptic.onnx'
    report = export(read_config('export')[0], str(checkpoint), 'onnx', out)
    assert report.metadata['outputs'][-2:] == ['masks', 'semantic']
    assert [d.output for d in report.differences][-1] == 'semantic'
    expected = find_maps(read_config, 'checkpoint', checkpoint)
    assert_alike(find_maps(read_config, 'file', out), expected)


def test_without_panopticapi(made, monkeypatch):
    """mmdet would raise an ImportError when the test set or the metric is built."""
    monkeypatch.setattr(panoptic, 'find_spec', lambda name: None)
    cfg = tiny_panoptic.load(made[0], made[2])
    message = (
        'the LoadPanopticAnnotations of .*tiny_panoptic.py needs panopticapi, .*: '
        r'pip install git\+https'
    )
    for run in (lambda: run_test(cfg, str(made[1])), lambda: train(cfg)):
        with pytest.raises(UserError, match=message):
            run()
    cfg.test_dataloader.dataset.pipeline.pop(2)
    with pytest.raises(UserError, match='the CocoPanopticMetric of .* needs panopt'):
        run_test(cfg, str(made[1]))
