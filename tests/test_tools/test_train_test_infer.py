"""The command lines, as a user types them, with small models on a small data set."""

import json
import os
import pickle
import re
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from helpers import tiny_models
from helpers.commands import (
    REPO,
    assert_one_line_error,
    call_tool,
    run_command,
    run_tool,
)
from helpers.forked import fork, torchrun_variables
from helpers.tool_server import fork_tool
from mmengine.utils import is_installed

from dev.compare_checkpoints import list_differences
from mmrapidnet.checkpoints.safe_load.load import load

SHORT = (
    'train_cfg.max_iters=4',
    'train_cfg.val_interval=2',
    'default_hooks.checkpoint.interval=2',
    'default_hooks.logger.interval=1',
    'train_dataloader.batch_size=2',
    *(
        f'{name}_dataloader.{key}'
        for name in ('train', 'val', 'test')
        for key in ('num_workers=0', 'persistent_workers=False')
    ),
)
# What the fork's own scripts need of our patches before a config can ask for them.
FORK = not is_installed('mmsegmentation')
TORCHVISION_FITS = torch._C._dispatch_has_kernel_for_dispatch_key(
    'torchvision::nms', 'CPU'
)
MMSEG_STARTS = pytest.mark.skipif(FORK, reason='finds no mmseg:: config')
MMDET_STARTS = pytest.mark.skipif(
    FORK and not TORCHVISION_FITS, reason='imports a torchvision of another build'
)


def train(config, root, work_dir, *arguments, options=(), run=fork_tool):
    done = run(
        'train.py',
        config,
        '--data-root',
        root,
        '--work-dir',
        work_dir,
        *arguments,
        '--cfg-options',
        *SHORT,
        *options,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done


def evaluate(config, checkpoint, root, work_dir, *rest, options=(), run=fork_tool):
    done = run(
        'test.py',
        config,
        checkpoint,
        '--data-root',
        root,
        '--work-dir',
        work_dir,
        *rest,
        '--cfg-options',
        *SHORT,
        *options,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return json.loads((Path(work_dir) / 'metrics.json').read_text())


def logged_iterations(stdout: str) -> list[int]:
    return [int(n) for n in re.findall(r'Iter\(train\)\s*\[\s*(\d+)/4\]', stdout)]


@pytest.fixture(scope='module')
def det(tmp_path_factory):
    """The config of a small detector."""
    return tiny_models.write_config('detector', tmp_path_factory.mktemp('configs'))


@pytest.fixture(scope='module')
def seg(tmp_path_factory):
    """The config of a small segmenter."""
    return tiny_models.write_config('segmenter', tmp_path_factory.mktemp('configs'))


@pytest.fixture(scope='module')
def detector(det, shapes_root, tmp_path_factory):
    """The work dir of a trained detector and what its training printed."""
    work_dir = tmp_path_factory.mktemp('runs') / 'detector'
    return work_dir, train(det, shapes_root / 'coco', work_dir, run=run_tool)


@pytest.fixture(scope='module')
def segmenter(seg, shapes_root, detector, tmp_path_factory):
    """The same of a segmenter that starts from the detector's backbone."""
    work_dir = tmp_path_factory.mktemp('runs') / 'segmenter'
    weights = detector[0] / 'iter_4.pth'
    done = train(seg, shapes_root / 'ade', work_dir, '--pretrained', weights)
    return work_dir, done


def test_training_a_detector(detector):
    work_dir, done = detector
    assert logged_iterations(done.stdout) == [1, 2, 3, 4]
    assert 'the backbone starts from random weights' in done.stdout
    assert (work_dir / 'last_checkpoint').read_text().endswith('iter_4.pth')
    record = json.loads((work_dir / 'metrics.json').read_text())
    assert record['iter'] == 4
    assert set(record['metrics']) >= {'coco/bbox_mAP', 'coco/segm_mAP'}
    for name, value in record['metrics'].items():
        assert re.search(rf'{name} +│ +{value:.4f}', done.stdout), name


def test_training_a_segmenter_from_the_detectors_backbone(segmenter, detector):
    work_dir, done = segmenter
    names = load(detector[0] / 'iter_4.pth')['state_dict']
    count = sum(name.startswith('backbone.') for name in names)
    assert count > 50
    assert re.search(
        rf'RapidNet: matched {count} of {count} tensors with \S+iter_4.pth; dropped '
        rf'{len(names) - count} others of the file: neck\.',
        done.stdout,
    )
    assert 'starts from random weights' not in done.stdout
    record = json.loads((work_dir / 'metrics.json').read_text())
    assert set(record['metrics']) == {'aAcc', 'mIoU', 'mAcc'}


def test_the_same_command_gives_the_same_weights(det, detector, shapes_root, tmp_path):
    work_dir, _ = detector
    train(det, shapes_root / 'coco', tmp_path)
    first = load(work_dir / 'iter_4.pth')['state_dict']
    second = load(tmp_path / 'iter_4.pth')['state_dict']
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_testing_a_detector(det, detector, shapes_root, tmp_path):
    work_dir, _ = detector
    record = evaluate(
        det,
        work_dir / 'iter_4.pth',
        shapes_root / 'coco',
        tmp_path / 'test',
        '--out',
        tmp_path / 'out' / 'predictions.pkl',
        '--show-dir',
        tmp_path / 'drawn',
    )
    trained = json.loads((work_dir / 'metrics.json').read_text())
    assert record['metrics'] == trained['metrics']
    assert record['seconds_per_image'] > 0
    assert record['checkpoint'].endswith('iter_4.pth')
    with (tmp_path / 'out' / 'predictions.pkl').open('rb') as file:
        predictions = pickle.load(file)
    assert len(predictions) == 6
    assert predictions[0]['pred_instances']['bboxes'].shape[1] == 4
    assert len(list((tmp_path / 'drawn').glob('*.jpg'))) == 6


def test_testing_a_segmenter(seg, segmenter, shapes_root, tmp_path):
    work_dir, _ = segmenter
    record = evaluate(
        seg,
        work_dir / 'iter_4.pth',
        shapes_root / 'ade',
        tmp_path / 'test',
        '--out',
        tmp_path / 'maps',
        '--show-dir',
        tmp_path / 'drawn',
        '--confusion-matrix',
    )
    trained = json.loads((work_dir / 'metrics.json').read_text())
    assert record['metrics'] == trained['metrics']
    assert record['per_class'] == trained['per_class']
    for mean, of_a_class in (('mIoU', 'IoU'), ('mAcc', 'Acc')):
        values = [f[of_a_class] for f in record['per_class']]
        values = [value for value in values if value is not None]
        assert record['metrics'][mean] == pytest.approx(np.mean(values), abs=0.02)
    counted = json.loads((tmp_path / 'test' / 'confusion_matrix.json').read_text())
    assert counted['classes'] == [f['class'] for f in record['per_class']]
    maps = (shapes_root / 'ade' / 'annotations' / 'validation').glob('*.png')
    labels = np.stack([cv2.imread(str(path), cv2.IMREAD_UNCHANGED) for path in maps])
    rows = np.sum(counted['matrix'], axis=1)
    # Their 0 is nothing, and the first class 1.
    assert rows.tolist() == [np.sum(labels == n + 1) for n in range(len(rows))]
    assert (tmp_path / 'test' / 'confusion_matrix.png').is_file()
    assert len(list((tmp_path / 'maps').glob('*.png'))) == 6
    assert len(list((tmp_path / 'drawn').glob('*.jpg'))) == 6


def test_test_time_augmentation(det, seg, segmenter, shapes_root, tmp_path):
    work_dir, _ = segmenter
    checkpoint = work_dir / 'iter_4.pth'
    root = shapes_root / 'ade'
    record = evaluate(
        seg,
        checkpoint,
        root,
        tmp_path,
        '--tta',
        options=('test_dataloader.batch_size=1', 'img_ratios=[1.0]'),
    )
    plain = json.loads((work_dir / 'metrics.json').read_text())
    assert set(record['metrics']) == set(plain['metrics'])
    assert record['metrics'] != plain['metrics']
    done = fork_tool('test.py', det, checkpoint, '--data-root', root, '--tta')
    assert_one_line_error(done, 'mmdet has no test-time augmentation for masks')


def test_testing_and_drawing_fused(
    det, seg, detector, segmenter, shapes_root, tmp_path
):
    """Fused on the way, and from a fused checkpoint."""
    work_dir, _ = segmenter
    checkpoint, root = work_dir / 'iter_4.pth', shapes_root / 'ade'
    plain = json.loads((work_dir / 'metrics.json').read_text())['metrics']
    for options in (['--fuse'], ['--fuse', '--tta']):
        single = ('test_dataloader.batch_size=1', 'img_ratios=[1.0]')
        record = evaluate(
            seg, checkpoint, root, tmp_path / 'seg', *options, options=single
        )
        if '--tta' not in options:
            assert record['metrics'] == pytest.approx(plain, abs=0.1)

    checkpoint, fused = detector[0] / 'iter_4.pth', tmp_path / 'fused.pth'
    done = fork_tool('fuse.py', checkpoint, fused, '--config', det)
    assert done.returncode == 0, done.stderr
    plain = json.loads((detector[0] / 'metrics.json').read_text())['metrics']
    record = evaluate(det, fused, shapes_root / 'coco', tmp_path / 'det')
    assert record['metrics'] == pytest.approx(plain, abs=1e-3)

    image = next((shapes_root / 'coco' / 'val2017').glob('*.jpg'))
    where = ('--config', det, '--checkpoint', fused, '--out', tmp_path / 'drawn')
    done = fork_tool('infer.py', image, *where)
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / 'drawn' / 'vis').iterdir())) == 1

    options = ('--data-root', shapes_root / 'coco')
    done = fork_tool('train.py', det, '--pretrained', fused, *options)
    assert_one_line_error(done, 'is fused, for evaluation only: start from the')


def test_resuming(det, detector, shapes_root, tmp_path):
    """From the middle, by path and by itself, to the weights of the whole run."""
    work_dir, _ = detector
    root = shapes_root / 'coco'
    done = train(det, root, tmp_path / 'a', '--resume', work_dir / 'iter_2.pth')
    assert logged_iterations(done.stdout) == [3, 4]
    whole = load(work_dir / 'iter_4.pth')
    again = load(tmp_path / 'a' / 'iter_4.pth')
    assert again['meta']['iter'] == whole['meta']['iter'] == 4
    assert list_differences(again, whole) == []
    done = fork_tool(
        'train.py',
        det,
        '--data-root',
        root,
        '--resume',
        work_dir / 'iter_2.pth',
        '--work-dir',
        tmp_path / 'b',
        '--cfg-options',
        'model.backbone.arch=s',
    )
    assert_one_line_error(done, 'iter_2.pth does not fit MaskRCNN', 'same arch')
    done = train(
        det, root, tmp_path / 'a', '--resume', options=('train_cfg.max_iters=6',)
    )
    assert [int(n) for n in re.findall(r'Iter\(train\) *\[(\d)/6\]', done.stdout)] == [
        5,
        6,
    ]


@pytest.mark.parametrize('kind', ['detector', 'segmenter'])
def test_inference(kind, det, seg, request, shapes_root, tmp_path):
    work_dir, _ = request.getfixturevalue(kind)
    folder = shapes_root / 'coco' / 'val2017'
    images = sorted(folder.glob('*.jpg'))
    run = run_tool if kind == 'detector' else fork_tool
    done = run(
        'infer.py',
        folder,
        images[0],
        '--config',
        det if kind == 'detector' else seg,
        '--checkpoint',
        work_dir / 'iter_4.pth',
        '--out',
        tmp_path / 'out',
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert f'6 pictures written to {tmp_path / "out"}/vis' in done.stdout
    drawn = {path.name for path in (tmp_path / 'out' / 'vis').iterdir()}
    assert drawn == {path.name for path in images}


def test_inference_on_bad_input(det, detector, segmenter, shapes_root, tmp_path):
    arguments = ('--config', det, '--out', tmp_path, '--checkpoint')
    good, other = detector[0] / 'iter_4.pth', segmenter[0] / 'iter_4.pth'
    text = tmp_path / 'text.jpg'
    text.write_text('no image')
    (tmp_path / 'empty').mkdir()
    for image, checkpoint, message in (
        ('nowhere.jpg', good, 'there is no image or folder nowhere.jpg'),
        (text, good, 'text.jpg is not an image that can be read'),
        (tmp_path / 'empty', good, 'empty holds no image'),
        (shapes_root / 'coco' / 'val2017', other, 'does not fit MaskRCNN; missing'),
    ):
        done = fork_tool('infer.py', image, *arguments, checkpoint)
        assert_one_line_error(done, message)


def check_several_processes(printed, trained, tested):
    """What processes print that train with SyncBN, and what they and others find."""
    assert logged_iterations(printed) == [1, 2, 3, 4]
    assert printed.count('there is no SyncBN on CPUs: it becomes BN') == 1
    # Statistics of the first process's images validated, and are in the checkpoint.
    validated, again = (
        json.loads((folder / 'metrics.json').read_text())['metrics']
        for folder in (trained, tested)
    )
    assert validated == again


def test_several_processes(seg, shapes_root, tmp_path):
    """Two train on the CPU, forked, as torchrun would start them; one tests."""
    work_dir, root = tmp_path / 'run', shapes_root / 'ade'
    common = ('--data-root', root, '--cfg-options', *SHORT)
    common = (*common, 'model.backbone.norm_cfg.type=SyncBN')
    where = ('--launcher', 'pytorch', '--work-dir', work_dir)

    def take_part(variables):
        os.environ.update(variables)
        done = call_tool('train.py', seg, *where, *common)
        (tmp_path / variables['RANK']).write_text(done.stdout + done.stderr)
        sys.exit(done.returncode)

    ranks = [fork(take_part, variables) for variables in torchrun_variables(2)]
    for rank in ranks:
        rank.join(600)
    printed = ''.join((tmp_path / str(rank)).read_text() for rank in range(2))
    assert [rank.exitcode for rank in ranks] == [0, 0], printed[-3000:]
    where = (work_dir / 'iter_4.pth', '--work-dir', tmp_path / 'test')
    done = fork_tool('test.py', seg, *where, *common)
    assert done.returncode == 0, done.stderr[-3000:]
    check_several_processes(printed, work_dir, tmp_path / 'test')


@pytest.mark.slow
def test_commands_for_several_processes(seg, shapes_root, tmp_path):
    """The same by torchrun; two processes test, too."""
    work_dir, root = tmp_path / 'run', shapes_root / 'ade'
    common = ('--data-root', root, '--cfg-options', *SHORT)
    common = (*common, 'model.backbone.norm_cfg.type=SyncBN')
    environment = {'PYTHON': sys.executable, 'OMP_NUM_THREADS': '1'}
    train, test = (REPO / 'tools' / f'dist_{name}.sh' for name in ('train', 'test'))
    done = run_command(train, seg, '2', '--work-dir', work_dir, *common, **environment)
    assert done.returncode == 0, done.stderr[-3000:]
    where = (work_dir / 'iter_4.pth', '2', '--work-dir', tmp_path / 'test')
    tested = run_command(test, seg, *where, *common, **environment)
    assert tested.returncode == 0, tested.stderr[-3000:]
    check_several_processes(done.stdout, work_dir, tmp_path / 'test')


@pytest.mark.parametrize(
    ('script', 'given', 'tool', 'handed_on'),
    [
        ('dist_train.sh', 'c.py 2 --amp', 'train.py', 'c.py --amp'),
        ('dist_test.sh', 'c.py c.pth 2 --fuse', 'test.py', 'c.py c.pth --fuse'),
    ],
)
def test_what_is_started_on_several_processes(script, given, tool, handed_on):
    tools = REPO / 'tools'
    done = run_command(tools / script, *given.split(), PYTHON='echo')
    started = f'-m torch.distributed.run --standalone --nproc_per_node=2 {tools}/{tool}'
    assert done.stdout == f'{started} {handed_on} --launcher pytorch\n'
    done = run_command(tools / script, 'c.py')
    assert (done.returncode, done.stderr.split()[2]) == (2, 'CONFIG')


def test_torchrun_starts_several_processes(tmp_path):
    script = tmp_path / 'script.py'
    script.write_text(
        'import os, sys\n'
        "rank, count = os.environ['RANK'], os.environ['WORLD_SIZE']\n"
        "print(rank, count, *sys.argv[1:], end='', file=open(f'rank{rank}', 'w'))\n"
    )
    dist_run = REPO / 'tools' / 'dist_run.sh'
    environment = {'PYTHON': sys.executable, 'OMP_NUM_THREADS': '1'}
    done = run_command(dist_run, '2', script, 'word', cwd=tmp_path, **environment)
    assert done.returncode == 0, done.stderr[-3000:]
    assert [(tmp_path / f'rank{rank}').read_text() for rank in range(2)] == [
        '0 2 word --launcher pytorch',
        '1 2 word --launcher pytorch',
    ]


@pytest.mark.parametrize(('kind', 'layout'), [('det', 'coco'), ('seg', 'ade')])
def test_mixed_precision_on_the_cpu(kind, layout, request, shapes_root, tmp_path):
    config = request.getfixturevalue(kind)
    done = train(config, shapes_root / layout, tmp_path, '--amp')
    losses = [float(x) for x in re.findall(r'\bloss: ([\d.]+)', done.stdout)]
    assert len(losses) == 4
    assert all(np.isfinite(losses))
    weights = load(tmp_path / 'iter_4.pth')['state_dict']
    assert all(w.dtype != torch.bfloat16 for w in weights.values())


def test_learning_rate_follows_the_batch(seg, shapes_root, tmp_path):
    done = train(
        seg,
        shapes_root / 'ade',
        tmp_path,
        '--auto-scale-lr',
        '--accumulate',
        '4',
        options=('auto_scale_lr.base_batch_size=16', 'train_cfg.max_iters=1'),
    )
    # Eight images per step, two at a time, instead of sixteen.
    assert 'Scaling the original LR by 0.5' in done.stdout


def stock(library: str, script: str) -> Path:
    package = __import__(library)
    return Path(package.__file__).parent / '.mim' / 'tools' / script


# Both scripts in one process: importing the libraries takes longer than either.
RUN_SCRIPTS = """
import json, runpy, sys
for sys.argv in json.loads(sys.argv[1]):
    runpy.run_path(sys.argv[0], run_name='__main__')
"""


@pytest.mark.parametrize('apart', [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    ('library', 'kind', 'layout', 'metric'),
    [
        pytest.param('mmdet', 'det', 'coco', 'coco/segm_mAP', marks=MMDET_STARTS),
        pytest.param(
            'mmseg', 'seg', 'ade', 'mIoU', marks=[MMSEG_STARTS, pytest.mark.slow]
        ),
    ],
)
def test_stock_scripts(
    library, kind, layout, metric, apart, request, shapes_root, tmp_path
):
    """The libraries' own scripts, with nothing of ours but the config's names."""
    config = request.getfixturevalue(kind)
    roots = [
        f'{name}_dataloader.dataset.data_root={shapes_root / layout}/'
        for name in ('train', 'val', 'test')
    ]
    if library == 'mmdet':
        annotations = shapes_root / 'coco' / 'annotations' / 'instances_val2017.json'
        roots += [f'{n}_evaluator.ann_file={annotations}' for n in ('val', 'test')]
    options = ('--work-dir', tmp_path, '--cfg-options', *SHORT, *roots)
    scripts = [
        (stock(library, 'train.py'), config, *options),
        (stock(library, 'test.py'), config, tmp_path / 'iter_4.pth', *options),
    ]
    commands = scripts if apart else [('-c', RUN_SCRIPTS, to_json(scripts))]
    printed = ''
    for command in commands:
        done = run_command(sys.executable, *command)
        assert done.returncode == 0, done.stderr[-3000:]
        printed += done.stdout + done.stderr
    assert logged_iterations(printed) == [1, 2, 3, 4]
    assert f'{metric}: ' in printed.rpartition('Iter(test)')[2]


def to_json(scripts) -> str:
    return json.dumps([[str(part) for part in script] for script in scripts])
