"""Pre-training on a few drawn images by the command lines, and what follows it."""

import json
import sys
from pathlib import Path

import pytest
from helpers.commands import assert_one_line_error, run_command
from helpers.tiny_pretraining import (
    load_tiny,
    write_config,
    write_images,
    write_teacher,
)
from helpers.tool_server import fork_tool

from mmrapidnet.checkpoints.safe_load.load import load


@pytest.fixture(scope='module')
def roots(tmp_path_factory):
    """The same images in ImageNet's two layouts."""
    folder = tmp_path_factory.mktemp('images')
    return {kind: write_images(folder / kind, kind) for kind in ('folders', 'list')}


@pytest.fixture(scope='module')
def teacher(roots, tmp_path_factory):
    folder = tmp_path_factory.mktemp('teacher')
    return write_teacher(load_tiny(folder, roots['list']), folder / 'teacher.pth')


@pytest.fixture(scope='module')
def trained(roots, teacher, tmp_path_factory):
    """A config and its run with a teacher, of two epochs of three iterations."""
    folder = tmp_path_factory.mktemp('tiny')
    config = write_config(folder)
    done = fork_tool(
        'train.py',
        config,
        '--work-dir',
        folder / 'run',
        '--data-root',
        roots['folders'],
        '--cfg-options',
        f'model.teacher.checkpoint={teacher}',
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return config, folder / 'run' / 'epoch_2.pth', done


def evaluate(config, checkpoint, root, work_dir, *arguments) -> dict[str, float]:
    done = fork_tool(
        'test.py',
        config,
        checkpoint,
        '--data-root',
        root,
        '--work-dir',
        work_dir,
        *arguments,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return json.loads((Path(work_dir) / 'metrics.json').read_text())['metrics']


def test_training(trained):
    _, checkpoint, done = trained
    for part in ('loss_cls', 'loss_dist'):
        assert done.stdout.count(f'{part}: ') == 6
    assert 'Scaling the original LR by 0.5' in done.stdout
    assert {'state_dict', 'ema_state_dict'} <= set(load(checkpoint))


def test_testing_without_a_teacher(trained, roots, tmp_path):
    """Of the average, as validation in training; the teacher's file is not named."""
    config, checkpoint, _ = trained
    metrics = evaluate(config, checkpoint, roots['list'], tmp_path)
    assert set(metrics) == {'accuracy/top1', 'accuracy/top5'}
    run = json.loads((checkpoint.parent / 'metrics.json').read_text())
    assert metrics == run['metrics']
    # Six images of six classes: all but those whose class is ranked last.
    assert metrics['accuracy/top5'] > metrics['accuracy/top1']


def test_fusing_and_exporting(trained, roots, tmp_path):
    """The average, without the teacher's file."""
    config, checkpoint, _ = trained
    root = roots['folders']
    plain = json.loads((checkpoint.parent / 'metrics.json').read_text())['metrics']
    fused = tmp_path / 'fused.pth'
    done = fork_tool('fuse.py', checkpoint, fused, '--config', config)
    assert done.returncode == 0, done.stderr[-3000:]
    for arguments in ((fused,), (checkpoint, '--fuse')):
        found = evaluate(config, arguments[0], root, tmp_path / 'f', *arguments[1:])
        assert found == plain
    exported = tmp_path / 'tiny.onnx'
    image = next((root / 'val').glob('*/*.JPEG'))
    done = fork_tool(
        'export.py',
        config,
        checkpoint,
        '--format',
        'onnx',
        '--out',
        exported,
        '--image',
        image,
        '--cfg-options',
        'model.teacher.checkpoint=gone.pth',
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert evaluate(config, exported, root, tmp_path / 'exported') == plain


def test_teacher_that_does_not_fit(trained, roots, tmp_path):
    """Another model's weights, found out before the first iteration."""
    config, checkpoint, _ = trained
    done = fork_tool(
        'train.py',
        config,
        '--data-root',
        roots['folders'],
        '--work-dir',
        tmp_path,
        '--cfg-options',
        f'model.teacher.checkpoint={checkpoint}',
        'model.teacher.backbone.arch.channels=(4,4,8,16)',
    )
    assert_one_line_error(
        done, 'epoch_2.pth does not fit the teacher, ImageClassifier; other shapes'
    )
    assert 'Epoch(train)' not in done.stdout


@pytest.mark.slow
def test_stock_scripts(roots, teacher, tmp_path):
    """mmpretrain's own, with nothing of ours but the config's names."""
    import mmpretrain

    scripts = Path(mmpretrain.__file__).parent / '.mim' / 'tools'
    config = write_config(tmp_path)
    options = [
        f'{name}_dataloader.dataset.data_root={roots["list"]}'
        for name in ('train', 'val', 'test')
    ]
    options = ('--work-dir', tmp_path / 'run', '--cfg-options', *options)
    done = run_command(
        sys.executable,
        scripts / 'train.py',
        config,
        *options,
        f'model.teacher.checkpoint={teacher}',
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert (done.stdout + done.stderr).count('loss_dist: ') == 6
    checkpoint = tmp_path / 'run' / 'epoch_2.pth'
    done = run_command(
        sys.executable, scripts / 'test.py', config, checkpoint, *options
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert 'accuracy/top5: ' in done.stdout + done.stderr


@pytest.mark.slow
def test_resuming(trained, roots, teacher, tmp_path):
    config, checkpoint, _ = trained
    done = fork_tool(
        'train.py',
        config,
        '--data-root',
        roots['folders'],
        '--work-dir',
        tmp_path,
        '--resume',
        checkpoint,
        '--cfg-options',
        'train_cfg.max_epochs=3',
        f'model.teacher.checkpoint={teacher}',
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert 'resumed epoch: 2, iter: 6' in done.stdout
    content = load(tmp_path / 'epoch_3.pth')
    assert content['ema_state_dict']['steps'] == 9
