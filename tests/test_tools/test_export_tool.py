"""The command lines around an exported file, as a user types them."""

import json
import re

import numpy as np
import pytest
from helpers.commands import assert_one_line_error
from helpers.tiny_models import load, write_checkpoint, write_config
from helpers.tool_server import fork_tool
from mmengine.config import Config

from mmrapidnet.apis import options
from mmrapidnet.apis.inference import infer
from mmrapidnet.apis.test import test as run_test
from mmrapidnet.config.load import load_config
from mmrapidnet.deploy.inference import ExportedModel
from mmrapidnet.utils.errors import UserError


@pytest.fixture(scope='module')
def segmenter(shapes_root, tmp_path_factory):
    """The path of a config, its data, a checkpoint and what exporting that printed."""
    folder, root = tmp_path_factory.mktemp('segmenter'), shapes_root / 'ade'
    checkpoint = write_checkpoint(load('segmenter', folder, root), folder / 'seg.pth')
    config = write_config('segmenter', folder)
    done = fork_tool(
        'export.py',
        config,
        checkpoint,
        '--format',
        'onnx',
        '--data-root',
        root,
        '--out',
        folder / 'exported' / 'seg.onnx',
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return config, root, folder, done


@pytest.fixture
def read_config(segmenter, tmp_path):
    def read(**settings) -> Config:
        config, root, *_ = segmenter
        return load_config(str(config), settings, str(root), str(tmp_path / 'run'))

    return read


def test_exporting(segmenter):
    config, _, folder, done = segmenter
    out = folder / 'exported' / 'seg.onnx'
    assert [path.name for path in out.parent.iterdir()] == ['seg.onnx']
    assert f'written to {out}' in done.stdout
    assert 'seg.onnx against PyTorch' in done.stdout
    row = re.search(r'│ logits +│ +(\S+) │ +(\S+) │ 1.0e-04 │', done.stdout)
    assert 0 < float(row[2]) < 1e-4
    metadata = ExportedModel(out, threads=1).metadata
    assert metadata['config'] == config.name
    assert metadata['checkpoint']['name'] == 'seg.pth'
    assert metadata['classes'][0] == 'background'
    assert metadata['settings'] == {'align_corners': False, 'threshold': None}


def test_testing_gives_the_metrics_of_the_checkpoint(segmenter, read_config, tmp_path):
    config, root, folder, _ = segmenter
    done = fork_tool(
        'test.py',
        config,
        folder / 'exported' / 'seg.onnx',
        '--data-root',
        root,
        '--work-dir',
        tmp_path / 'work',
        '--out',
        tmp_path / 'maps',
        '--confusion-matrix',
    )
    assert done.returncode == 0, done.stderr[-3000:]
    record = json.loads((tmp_path / 'work' / 'metrics.json').read_text())
    assert record['checkpoint'].endswith('seg.onnx')
    assert record['seconds_per_image'] > 0
    assert len(list((tmp_path / 'maps').glob('*.png'))) == 6
    expected = run_test(read_config(), str(folder / 'seg.pth'))
    assert record['metrics'] == pytest.approx(expected, abs=0.1)
    assert set(record['metrics']) == {'aAcc', 'mIoU', 'mAcc'}
    counted = json.loads((tmp_path / 'work' / 'confusion_matrix.json').read_text())
    matrix = np.array(counted['matrix'])
    accuracy = 100 * matrix.trace() / matrix.sum()
    assert record['metrics']['aAcc'] == pytest.approx(accuracy, abs=0.01)


def test_drawing(segmenter, shapes_root, tmp_path):
    config, _, folder, _ = segmenter
    image = shapes_root / 'coco' / 'val2017' / '000000000001.jpg'
    done = fork_tool(
        'infer.py',
        image,
        '--config',
        config,
        '--out',
        tmp_path,
        '--checkpoint',
        folder / 'exported' / 'seg.onnx',
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert f'1 pictures written to {tmp_path}/vis' in done.stdout
    assert (tmp_path / 'vis' / image.name).is_file()
    assert 'randomly initialized' not in done.stderr


def test_an_exported_file_of_another_config(segmenter):
    config, root, folder, _ = segmenter
    done = fork_tool(
        'test.py',
        config,
        folder / 'exported' / 'seg.onnx',
        '--data-root',
        root,
        '--cfg-options',
        'model.neck.out_channels=32',
    )
    assert_one_line_error(done, 'seg.onnx was exported from the model of tiny_segmente')


def test_files_that_cannot_be_tested(segmenter, read_config, tmp_path):
    exported = str(segmenter[2] / 'exported' / 'seg.onnx')
    text = tmp_path / 'text.onnx'
    text.write_text('no network')
    for path, message in (
        ('nowhere.onnx', 'there is no file nowhere.onnx'),
        (str(text), 'text.onnx is not an ONNX file that can be run'),
    ):
        with pytest.raises(UserError, match=message):
            run_test(read_config(), path)
    cfg = read_config()
    options.enable_tta(cfg)
    with pytest.raises(UserError, match='--tta merges .*seg.onnx is an exported file'):
        run_test(cfg, exported)
    with pytest.raises(UserError, match='--device cuda: .* runs on the CPU'):
        infer(read_config(), exported, [], str(tmp_path), device='cuda')
