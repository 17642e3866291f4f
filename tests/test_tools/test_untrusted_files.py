"""Malicious files through every tool that reads one: one line, and nothing runs."""

import pytest
from helpers import malicious_files, tiny_models, tiny_pretraining
from helpers.commands import REPO, assert_one_line_error, run_tool
from helpers.tool_server import fork_tool

FILES = ('zip: os.system', 'bare pickle, protocol 4', 'zip: tensor state', 'zip bomb')


@pytest.fixture(scope='module')
def commands(shapes_root, tmp_path_factory):
    """From a file to the commands that read it, by name."""
    folder = tmp_path_factory.mktemp('commands')
    config = tiny_models.write_config('segmenter', folder)
    classifier = tiny_pretraining.write_config(folder)
    images = tiny_pretraining.write_images(folder / 'images', 'folders')
    data = ('--data-root', shapes_root / 'ade')
    image = next((shapes_root / 'coco' / 'val2017').iterdir())
    train = ('train.py', config, *data, '--work-dir', folder / 'run')
    cls = ('train.py', classifier, '--data-root', images, '--work-dir', folder / 'cls')
    return lambda file: {
        'convert': ('convert_checkpoint.py', file, folder / 'out.pth'),
        'fuse': ('fuse.py', file, folder / 'out.pth', '--config', config),
        'test': ('test.py', config, file, *data, '--work-dir', folder / 'test'),
        'infer': (
            'infer.py',
            image,
            '--config',
            config,
            '--checkpoint',
            file,
            '--out',
            folder / 'seen',
        ),
        'segment': (
            *('segment_anything.py', image, '--everything', '--checkpoint', file),
            *('--config', REPO / 'configs' / 'sam_repvit_m2_3.py'),
            *('--out', folder / 'segmented'),
        ),
        'export': (
            'export.py',
            config,
            file,
            *data,
            '--format',
            'onnx',
            '--out',
            folder / 'out.onnx',
        ),
        'train, resume': (*train, '--resume', file),
        'train, pretrained': (*train, '--pretrained', file),
        'train, load_from': (*train, '--cfg-options', f'load_from={file}'),
        'train, Pretrained': (
            *train,
            '--cfg-options',
            'model.init_cfg.type=Pretrained',
            f'model.init_cfg.checkpoint={file}',
        ),
        'train, teacher': (
            *cls,
            '--cfg-options',
            f'model.teacher.checkpoint={file}',
            'model.head.distillation=hard',
        ),
        'benchmark': (
            'dev/benchmark/__main__.py',
            'dense',
            config,
            '--checkpoint',
            file,
            '--trial',
            '--rounds',
            '1',
            '--out',
            folder / 'benchmark',
            '--no-memory',
        ),
    }


NAMES = (
    'convert',
    'fuse',
    'test',
    'infer',
    'export',
    'train, resume',
    'train, pretrained',
    'train, load_from',
    'train, Pretrained',
    'train, teacher',
    'benchmark',
    'segment',
)


# Their readers refuse such files in tests/test_checkpoints/test_safe_load.
SLOW = ('train, Pretrained', 'train, teacher')


@pytest.mark.parametrize(
    'number',
    [
        pytest.param(n, id=name, marks=[pytest.mark.slow] * (name in SLOW))
        for n, name in enumerate(NAMES)
    ],
)
def test_a_tool_refuses_a_malicious_file(commands, tmp_path, number):
    canary = tmp_path / 'canary'
    name = FILES[number % len(FILES)]
    file = malicious_files.write(name, tmp_path / 'malicious.pth', canary)
    tool, *arguments = commands(file)[NAMES[number]]
    done = fork_tool(tool, *arguments, timeout=120)
    assert done.returncode == 1, done.stderr
    assert_one_line_error(done, 'malicious.pth')
    (line,) = [s for s in done.stderr.splitlines() if s.startswith('error: ')]
    assert 'holds' in line or 'is truncated or not a checkpoint' in line
    assert not canary.exists()


@pytest.mark.slow
@pytest.mark.parametrize('number', range(len(malicious_files.MALICIOUS)))
def test_every_malicious_file_is_refused_by_a_tool(commands, tmp_path, number):
    canary = tmp_path / 'canary'
    name = list(malicious_files.MALICIOUS)[number]
    file = malicious_files.write(name, tmp_path / 'malicious.pth', canary)
    tool, *arguments = commands(file)[NAMES[number % len(NAMES)]]
    done = fork_tool(tool, *arguments, timeout=120)
    assert done.returncode == 1, done.stderr
    assert_one_line_error(done)
    assert not canary.exists()


def test_a_process_of_its_own_refuses_one(tmp_path):
    canary = tmp_path / 'canary'
    file = malicious_files.write('zip: os.system', tmp_path / 'malicious.pth', canary)
    done = run_tool('convert_checkpoint.py', file, tmp_path / 'out.pth')
    assert_one_line_error(done, 'malicious.pth holds posix.system, which is not data')
    assert not canary.exists()
