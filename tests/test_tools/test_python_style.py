"""The command lines with a config in Python style."""

import json

import onnx
from helpers import tiny_models
from helpers.python_style import write_in_python_style
from helpers.tool_server import fork_tool
from test_train_test_infer import SHORT

from mmrapidnet.checkpoints.safe_load.load import load
from mmrapidnet.config.load import load_config


def run(tool, *arguments):
    done = fork_tool(tool, *map(str, arguments))
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout + done.stderr


def test_from_training_to_a_file(shapes_root, tmp_path):
    plain = load_config(str(tiny_models.write_config('segmenter', tmp_path)))
    config, _ = write_in_python_style(plain, tmp_path)
    root, work_dir = ('--data-root', shapes_root / 'ade'), tmp_path / 'run'
    options = ('--work-dir', work_dir, *root, '--cfg-options', *SHORT)
    trained = run('train.py', config, '--amp', '--fast', *options)
    assert 'cannot be repeated' not in trained
    checkpoint = work_dir / 'iter_4.pth'
    assert load(checkpoint)['message_hub']['runtime_info']['validated_at'] == 2
    metrics = json.loads((work_dir / 'metrics.json').read_text())['metrics']
    resumed = run('train.py', config, '--amp', '--fast', '--resume', *options)
    assert f'going on from {checkpoint}' in resumed
    assert json.loads((work_dir / 'metrics.json').read_text())['metrics'] == metrics
    run('test.py', config, checkpoint, *options)
    pictures = tmp_path / 'pictures'
    images = [next((shapes_root / 'coco').rglob('*.jpg'))]
    model = ('--config', config, '--checkpoint', checkpoint)
    run('infer.py', *images, *model, '--out', pictures)
    assert len(list(pictures.iterdir())) == 1
    out = tmp_path / 'model.onnx'
    arguments = ('--format', 'onnx', '--out', out, '--image', images[0])
    run('export.py', config, checkpoint, *arguments)
    assert onnx.load(out).graph.output
