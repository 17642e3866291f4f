"""Latency of one's own checkpoint and exported files, as a user asks for it."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from helpers.commands import assert_one_line_error
from helpers.tiny_models import load, write_checkpoint, write_config
from helpers.tool_server import fork_tool

from mmrapidnet.apis import benchmark
from mmrapidnet.config.load import load_config
from mmrapidnet.deploy.formats import open_session
from mmrapidnet.utils.errors import UserError

COLUMNS = ['what', 'precision', 'median ms', 'p10', 'p90', 'ratio']
FEW = ('--rounds', 2, '--warm-up', 0)


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """Config and checkpoint of a small segmenter, and a file for one size of images."""
    folder = tmp_path_factory.mktemp('segmenter')
    checkpoint = write_checkpoint(load('segmenter', folder, folder), folder / 'seg.pth')
    config, image = write_config('segmenter', folder), folder / 'noise.png'
    noise = np.random.default_rng(0).integers(0, 255, (64, 96, 3), np.uint8)
    cv2.imwrite(str(image), noise)
    done = fork_tool(
        'export.py',
        config,
        checkpoint,
        *('--format', 'onnx', '--out', folder / 'seg.onnx'),
        *('--image', image, '--size', 64, 96),
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


def run(folder, *arguments):
    return fork_tool('benchmark.py', 'tiny_segmenter.py', *arguments, cwd=folder)


def read_table(text):
    """The header and the rows of a table that rich printed."""
    lines = [line.replace('┃', '│') for line in text.splitlines() if line[:1] in '┃│']
    return [[cell.strip() for cell in line.split('│')[1:-1]] for line in lines if line]


def test_a_checkpoint_and_its_files(folder):
    done = run(folder, '--checkpoint', 'seg.pth', '--exported', 'seg.onnx', *FEW)
    assert done.returncode == 0, done.stderr[-3000:]
    header, *rows = read_table(done.stdout)
    assert header == COLUMNS
    assert [row[0] for row in rows] == ['PyTorch', 'PyTorch, fused', 'seg.onnx']
    assert [row[1] for row in rows] == ['fp32'] * 3
    medians, p10, p90, ratios = (np.array(c, float) for c in list(zip(*rows))[2:])
    assert (p10 > 0).all() and (p10 <= medians).all() and (medians <= p90).all()
    assert ratios[0] == 1
    assert ratios == pytest.approx(medians[0] / medians, abs=0.006, rel=0.01)
    # The size that a file is fixed to.
    assert 'tiny_segmenter.py, 64x96 (height x width)' in done.stdout
    assert 'the network alone (segmenter), from a tensor of one drawn' in done.stdout
    assert '2 rounds after 0 to warm up' in done.stdout
    assert 'times faster than PyTorch' in done.stdout
    assert 'thread' in done.stdout and ', torch 2.' in done.stdout


def test_mistakes_get_one_line(folder):
    done = run(folder, '--exported', 'seg.onnx', '--size', 64, 64)
    expected = 'seg.onnx takes images of 64x96 only (height x width), not of 64x64'
    assert_one_line_error(done, expected)
    assert_one_line_error(run(folder, '--rounds', 0), '--rounds 0: give at least 1')


def test_what_cannot_be_timed(folder, monkeypatch):
    monkeypatch.setattr(benchmark, 'IsolatedSession', open_session)
    monkeypatch.chdir(folder)
    Path('text.onnx').write_text('no network')
    cfg = load_config('tiny_segmenter.py')
    for exported, message in (
        ('none.onnx', 'there is no file none.onnx'),
        ('seg.pth', 'seg.pth is not an exported file: those are called'),
        ('text.onnx', 'text.onnx is not an ONNX file that can be run'),
    ):
        with pytest.raises(UserError, match=message):
            benchmark.measure(cfg, exported=[exported])
    with pytest.raises(UserError, match='checkpoint none.pth does not exist'):
        benchmark.measure(cfg, 'none.pth')
    cfg.model.neck.out_channels = 32
    with pytest.raises(UserError, match='seg.onnx was exported from the model of tiny'):
        benchmark.measure(cfg, exported=['seg.onnx'])
    cfg.pop('model')
    with pytest.raises(UserError, match='tiny_segmenter.py has no model'):
        benchmark.measure(cfg)


@pytest.mark.parametrize(
    ('setting', 'message'),
    [
        (dict(size=(0, 96)), '--size 0: give at least 1'),
        (dict(threads=0), '--threads 0: give at least 1'),
        (dict(warm_up=-1), '--warm-up -1: give at least 0'),
    ],
)
def test_settings_out_of_range(setting, message):
    with pytest.raises(UserError, match=message):
        benchmark.Settings(**setting).check()
