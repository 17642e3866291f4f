"""Tools given random arguments and damaged files: output, or one line of error."""

import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil
import pytest
from helpers.commands import assert_one_line_error
from helpers.tiny_models import write_config
from helpers.tool_server import fork_tool
from hypothesis import HealthCheck, Phase, event, given, settings
from hypothesis import strategies as st

STEADY = dict(
    deadline=None,
    derandomize=True,
    database=None,
    # An example takes seconds: to shrink one would take many minutes.
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.too_slow],
)
SHORT = """
train_dataloader = dict(batch_size=2, num_workers=0, persistent_workers=False)
train_cfg = dict(max_iters=2, val_interval=2)
default_hooks = dict(checkpoint=dict(interval=2))
"""
WEIGHTS = ('checkpoint', 'fused', 'safetensors')
KINDS = (*WEIGHTS, 'config', 'image', 'results')
# Of formats, with what lies beside the file.
EXPORTED = {
    'onnx': ('model.onnx',),
    'openvino': ('model.xml', 'model.bin'),
    'ncnn': ('model.ncnn.param', 'model.ncnn.bin', 'model.ncnn.json'),
}
# These write what they were asked for or nothing; others write a log as they go.
WRITERS = {'convert_checkpoint.py', 'fuse.py', 'export.py', 'make_shapes.py'}
# What argparse ends with.
USAGE = 2


# -------------------------------------------------------------------- whole files


@pytest.fixture(scope='module')
def samples(tmp_path_factory) -> dict[str, tuple[Path, ...]]:
    """Files of a very small model by kind, made by the tools themselves."""
    folder = tmp_path_factory.mktemp('samples')
    config = write_config('segmenter', folder)
    config.write_text(config.read_text() + SHORT)
    data = folder / 'shapes' / 'ade'
    make('make_shapes.py', data.parent, '--train', 2, '--val', 1, '--size', 64)
    make('train.py', config, '--data-root', data, '--work-dir', folder / 'run')
    checkpoint = folder / 'run' / 'iter_2.pth'
    fused, safetensors = folder / 'fused.pth', folder / 'fused.safetensors'
    make('fuse.py', checkpoint, fused, '--config', config)
    make('fuse.py', checkpoint, safetensors, '--config', config)
    results = folder / 'benchmark.json'
    results.write_text('{"sections": []}')
    (image,) = (data / 'images' / 'validation').iterdir()
    files = dict(
        checkpoint=checkpoint,
        fused=fused,
        safetensors=safetensors,
        config=config,
        image=image,
        results=results,
        data=data,
    )
    return {kind: (path,) for kind, path in files.items()}


@pytest.fixture(scope='module')
def exported_samples(samples, tmp_path_factory):
    """The same, and files that were exported."""
    folder = tmp_path_factory.mktemp('exported')
    given = [samples[kind][0] for kind in ('config', 'checkpoint', 'data')]
    files = {
        name: tuple(folder / part for part in parts) for name, parts in EXPORTED.items()
    }
    for name, (path, *_) in files.items():
        options = ('--format', name, '--out', path, '--size', 64, 64)
        make('export.py', *given[:2], '--data-root', given[2], *options)
    return {**samples, **files}


def make(tool, *arguments):
    done = fork_tool(tool, *arguments)
    assert done.returncode == 0, done.stdout + done.stderr


# ------------------------------------------------------------ what happens to them


def flip(content: bytes, bits: list[int]) -> bytes:
    changed = bytearray(content)
    for bit in bits if changed else ():
        changed[bit // 8 % len(changed)] ^= 1 << bit % 8
    return bytes(changed)


def truncate(content: bytes, share: float) -> bytes:
    return content[: int(len(content) * share)]


def blank(content: bytes, at: int, length: int) -> bytes:
    """Zero a block, as a disk does that was not synced."""
    at %= len(content) + 1
    return (content[:at] + bytes(length) + content[at + length :])[: len(content)]


def repeat(content: bytes, at: int, length: int) -> bytes:
    at %= len(content) + 1
    return content[: at + length] + content[at:]


def replace(content: bytes, at: int, block: bytes) -> bytes:
    at %= len(content) + 1
    return content[:at] + block + content[at + len(block) :]


def noise(content: bytes, other: bytes) -> bytes:
    return other


# Anywhere, or among the first or last bytes, where formats live.
positions = st.integers(-512, 511) | st.integers(0, 2**24)
bits = st.builds(lambda at, bit: 8 * at + bit, positions, st.integers(0, 7))
lengths = st.integers(1, 4096)
blocks = st.binary(max_size=1000)
damages = st.one_of(
    st.builds(partial, st.just(flip), bits=st.lists(bits, min_size=1, max_size=16)),
    st.builds(partial, st.just(truncate), share=st.floats(0, 1)),
    st.builds(partial, st.just(blank), at=positions, length=lengths),
    st.builds(partial, st.just(repeat), at=positions, length=lengths),
    st.builds(partial, st.just(replace), at=positions, block=blocks),
    st.builds(partial, st.just(noise), other=blocks),
)


@dataclass(frozen=True)
class File:
    """A file that a tool is given.

    Attributes:
        kind: What it is called as.
        content: Kind of what it holds.
        damage: What is done to it, or to a file that lies beside it; None for nothing.
        part: Which of these.
    """

    kind: str
    content: str
    damage: Callable[[bytes], bytes] | None = None
    part: int = 0

    def write(self, samples, folder: Path) -> str:
        """Put it into a folder, with what lies beside it, returning its name."""
        copies = [folder / path.name for path in samples[self.kind]]
        for source, copy in zip(samples[self.kind], copies):
            shutil.copyfile(source, copy)
        if self.content != self.kind:
            shutil.copyfile(samples[self.content][0], copies[0])
        if self.damage:
            path = copies[self.part % len(copies)]
            path.write_bytes(self.damage(path.read_bytes()))
        return copies[0].name


# ------------------------------------------------------------------------ commands
# They run in a folder of their own, where `data` is the data set.


@st.composite
def files(draw, *kinds):
    """A file, mostly of one of some kinds and often damaged."""
    chances = ['whole'] * 8 + ['damaged'] * 9 + ['another', 'nowhere', 'folder']
    chance = draw(st.sampled_from(chances))
    if chance == 'nowhere':
        return 'nowhere.pth'
    if chance == 'folder':
        return '.'
    if chance == 'another':
        return File(draw(st.sampled_from(KINDS)), draw(st.sampled_from(KINDS)))
    kind = draw(st.sampled_from(kinds))
    # A config is a program: damaged, it is another one.
    if chance == 'whole' or kind == 'config':
        return File(kind, kind)
    return File(kind, kind, draw(damages), draw(st.integers(0, 2)))


def choose(*values):
    return st.sampled_from(values)


def outs(*names):
    """A place to write to, not always one that can be."""
    return choose(*names * 5, '.', '/proc/nowhere/out')


@st.composite
def some(draw, **options):
    """A few options, each with its values."""
    arguments = []
    for name, values in options.items():
        if draw(choose(False, False, False, True)):
            arguments += [f'--{name.replace("_", "-")}', *map(draw, values)]
    return arguments


@st.composite
def call(draw, tool, *parts):
    """A tool and its arguments, each a word, or a strategy of one or of a list."""
    arguments = []
    for part in parts:
        value = part if isinstance(part, str) else draw(part)
        arguments += value if isinstance(value, list) else [value]
    return tool, arguments


def calls(*exported):
    """A call at random; models may also be of some exported kinds."""
    config, checkpoint, image = map(files, ('config', 'checkpoint', 'image'))
    weights, models = files(*WEIGHTS), files(*WEIGHTS, *exported)
    data = choose(*['data'] * 20, '.')
    work, converted = outs('work'), outs('out.pth', 'out.safetensors', 'new/out.pth')
    number = choose(
        *('0', '-1', '1', '2', '64', '100000000000', '1e9', 'nan', '0.5', 'x', '')
    )
    word = choose(
        *('', 'x', 'auto', '--', 'rapidnet_ti', 'cpu', 'cuda:9', '\x1b[2J', 'ä/ö', '*')
    )
    setting = choose(
        'model.backbone.arch=xl',
        'model.backbone.out_indices=(3,1)',
        'model.backbone.drop_path_rate=0.1',
        'work_dir=elsewhere',
        'randomness.seed=3',
        'model.neck.out_channels=8',
        'default_scope=mmnothing',
        'train_cfg.max_iters=1',
    )
    count = choose('0', '1', '2', '-1', 'x')
    often = [
        call(
            'convert_checkpoint.py',
            *(weights, converted, some(model=[word], ema=[], no_ema=[])),
        ),
        call(
            'train.py',
            config,
            *('--data-root', data, '--work-dir', work),
            some(
                pretrained=[weights],
                resume=[checkpoint],
                amp=[],
                fast=[],
                auto_scale_lr=[],
                cfg_options=[setting],
            ),
            some(cfg_options=[checkpoint.map(lambda file: ('load_from=', file))]),
        ),
        call(
            'test.py',
            *(config, models, '--data-root', data, '--work-dir', work),
            some(
                fuse=[],
                tta=[],
                out=[outs('found', 'found.pkl')],
                show_dir=[outs('pictures')],
                cfg_options=[setting],
            ),
        ),
        call(
            'infer.py',
            *(image, '--config', config, '--checkpoint', models),
            *('--out', outs('pictures')),
            some(device=[word], score_thr=[number]),
        ),
        call('fuse.py', checkpoint, converted, some(config=[config])),
        call(
            'export.py',
            *(config, weights, '--data-root', data),
            *('--format', choose('onnx', 'openvino', 'ncnn', 'x')),
            *('--out', outs('a.onnx', 'a.xml', 'a.ncnn.param', 'a.x')),
            some(
                part=[choose('backbone', 'dense', 'x')],
                precision=[choose('fp16', 'int8', 'x')],
                size=[number, number],
                image=[image],
                calibration_images=[number],
            ),
        ),
    ]
    seldom = [
        call(
            'make_shapes.py',
            *(outs('shapes'), '--train', count, '--val', count),
            some(
                layout=[choose('dense', 'imagenet', 'x')],
                size=[choose('0', '63', '64', '65', '-1', 'x')],
                seed=[number],
                overwrite=[],
            ),
        ),
        call('dev/benchmark/__main__.py', 'tables', files('results')),
        call(
            'dev/benchmark/__main__.py',
            *('plot', files('results'), '--out', outs('plot.png', 'plot.x')),
            some(runtime=[word], size=[number]),
        ),
        call(
            'dev/reproduce.py',
            choose('semfpn_rapidnet_s_ade20k', 'rapidnet_ti_in1k', 'x', ''),
            *('--file', weights, '--data-root', data, '--work-dir', work),
            *('--results', outs('results.yml')),
        ),
        call('dev/ablations.py', '--folder', outs('nothing')),
        call('dev/model_cards.py', '--check', '--root', outs('nothing')),
        call(
            'dev/parity.py',
            *(config, weights, weights, '--out', outs('parity')),
            some(formats=[word]),
        ),
    ]
    return choose(*often, *often, *seldom).flatmap(lambda strategy: strategy)


# ---------------------------------------------------------------------- the promise


@settings(max_examples=16, **STEADY)
@given(calls())
def test_whatever_is_given(samples, drawn):
    assert_promise(samples, *drawn)


@pytest.mark.slow
@settings(max_examples=100, **STEADY)
@given(calls(*EXPORTED))
def test_whatever_is_given_exported_files_too(exported_samples, drawn):
    assert_promise(exported_samples, *drawn)


def assert_promise(samples, tool, arguments):
    """Run a command, and hold it to output or one line of error."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        (folder / 'data').symlink_to(samples['data'][0])
        command = [_resolve(argument, samples, folder) for argument in arguments]
        before = _read(folder)
        done = fork_tool(tool, *command, cwd=folder, timeout=120)
        after = _read(folder)
    event(f'{tool} ended with {done.returncode}')
    assert_output_or_one_line(done)
    assert {path: after.get(path) for path in before} == before
    left = after.keys() - before.keys()
    assert not [p for p in left if p.suffix == '.partial' or '.export-' in str(p)]
    if done.returncode and tool in WRITERS:
        assert not left


def assert_output_or_one_line(done):
    text = done.stdout + done.stderr
    if done.returncode == 0:
        assert 'Traceback' not in text
        assert not [line for line in text.splitlines() if line.startswith('error: ')]
    elif done.returncode == USAGE and 'usage: ' in done.stderr:
        assert 'Traceback' not in text
    else:
        assert done.returncode > 0, f'ended by a signal: {done.returncode}'
        assert_one_line_error(done)


def _resolve(argument, samples, folder):
    if isinstance(argument, tuple):
        return ''.join(_resolve(part, samples, folder) for part in argument)
    return argument.write(samples, folder) if isinstance(argument, File) else argument


def _read(folder):
    """Contents of the files of a folder."""
    return {
        path.relative_to(folder): path.read_bytes()
        for path in folder.rglob('*')
        if path.is_file()
    }


@pytest.mark.parametrize(
    ('script', 'kept'),
    [
        ('print("done")', True),
        ('raise SystemExit("error: no")', True),
        ('import sys; print("error: no", file=sys.stderr); sys.exit(1)', True),
        ('import argparse; argparse.ArgumentParser().parse_args()', True),
        ('raise SystemExit("no such file")', False),
        ('raise SystemExit("error: a\\nerror: b")', False),
        ('print("error: a")', False),
        ('[][0]', False),
        ('import os, signal; os.kill(os.getpid(), signal.SIGSEGV)', False),
    ],
)
def test_what_commands_are_held_to(tmp_path, script, kept):
    path = tmp_path / 'script.py'
    path.write_text(script)
    done = fork_tool(path, 'an_argument', cwd=tmp_path)
    if kept:
        assert_output_or_one_line(done)
    else:
        with pytest.raises(AssertionError):
            assert_output_or_one_line(done)


def test_a_command_that_does_not_end(tmp_path):
    script = tmp_path / 'script.py'
    script.write_text('import time; time.sleep(60)')
    with pytest.raises(subprocess.TimeoutExpired):
        fork_tool(script, timeout=1)


def test_workers_end_with_the_script(tmp_path):
    script, pid = tmp_path / 'script.py', tmp_path / 'pid'
    script.write_text(
        'import multiprocessing, time\n'
        'worker = multiprocessing.Process(target=time.sleep, args=[60], daemon=True)\n'
        f'worker.start(); open({str(pid)!r}, "w").write(str(worker.pid))\n'
    )
    assert fork_tool(script).returncode == 0
    assert not psutil.pid_exists(int(pid.read_text()))


@given(damages, st.binary(max_size=100))
@settings(max_examples=100, derandomize=True, database=None)
def test_damage_is_of_any_content(damage, content):
    assert isinstance(damage(content), bytes)
    assert damage(content) == damage(content)
