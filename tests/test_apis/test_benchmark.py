"""What is measured of a model, and what is said of it."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from helpers.exported_files import write_ncnn
from helpers.tiny_models import load
from rich.console import Console

from mmrapidnet.apis import benchmark
from mmrapidnet.apis.latency import Timing
from mmrapidnet.deploy.fuse import fuse
from mmrapidnet.deploy.isolated import FileError
from mmrapidnet.utils.errors import UserError

FEW = benchmark.Settings(size=(64, 96), rounds=2, warm_up=0)


def test_a_detector_counts_what_it_finds(tmp_path):
    found = benchmark.measure(load('detector', tmp_path, tmp_path), settings=FEW)
    assert (found.kind, found.size) == ('detector', (64, 96))
    assert [row.name for row in found.rows] == ['PyTorch', 'PyTorch, fused']
    assert all(len(row.timing.seconds) == 2 for row in found.rows)
    assert all(0 <= row.objects <= 12 for row in found.rows)
    text = benchmark.describe(found, FEW)
    assert f'depends on: PyTorch: {found.rows[0].objects}; PyTorch, fused: ' in text


def test_a_fused_checkpoint_is_timed_once(tmp_path):
    cfg = load('segmenter', tmp_path, tmp_path)
    state = fuse(benchmark.build_model(cfg).eval()).state_dict()
    content = {'state_dict': state, 'meta': {'mmrapidnet_fused': {}}}
    torch.save(content, tmp_path / 'fused.pth')
    found = benchmark.measure(cfg, str(tmp_path / 'fused.pth'), settings=FEW)
    (row,) = found.rows
    assert (row.name, row.precision, row.ratio) == ('PyTorch, fused', 'fp32', 1)
    assert row.objects is None


def test_image_of_other_channels():
    image, five = (benchmark.draw_image((64, 96), n) for n in (3, 5))
    assert image.dtype == np.float32 and image.max() > 100
    assert five.shape == (1, 5, 64, 96)
    assert np.array_equal(five[:, :3], image)
    assert np.array_equal(five[:, 3:], image[:, :2])


def test_files_that_cannot_be_compared(tmp_path, monkeypatch):
    def about(kind):
        return SimpleNamespace(metadata={'kind': kind, 'input': {'size': None}})

    kinds = {'a.onnx': 'segmenter', 'b.onnx': 'backbone'}
    monkeypatch.setattr(
        benchmark, 'IsolatedSession', lambda path, *rest: about(kinds[path.name])
    )
    monkeypatch.setattr(benchmark, 'check_config', lambda *arguments: None)
    cfg = load('segmenter', tmp_path, tmp_path)
    message = r'hold different parts \(a.onnx: segmenter, b.onnx: backbone\): time'
    with pytest.raises(UserError, match=message):
        benchmark.measure(cfg, exported=list(kinds), settings=FEW)
    monkeypatch.setattr(benchmark, 'find_device', lambda name: None)
    on_gpu = benchmark.Settings(device='cuda')
    with pytest.raises(UserError, match='--device cuda: a.onnx is an exported file'):
        benchmark.measure(cfg, exported=['a.onnx'], settings=on_gpu)


def test_a_file_that_ends_its_process(tmp_path, monkeypatch):
    """A layer without the numbers that it needs, at which ncnn reads from nowhere."""
    monkeypatch.setattr(benchmark, 'check_config', lambda *arguments: None)
    path = write_ncnn(tmp_path / 'slice.ncnn.param', 'Slice slice 1 1')
    cfg = load('segmenter', tmp_path, tmp_path)
    with pytest.raises(FileError, match='^slice.* died of SIGSEGV') as error:
        benchmark.measure(cfg, exported=[str(path)], settings=FEW)
    assert error.value.path == path


def test_the_table_by_hand(monkeypatch):
    monkeypatch.setattr(benchmark, 'has_bf16', lambda: False)
    rows = [
        benchmark.Row('PyTorch', 'fp32', Timing((0.1, 0.2, 0.3)), 1.0, None),
        benchmark.Row('[b]a.xml', 'int8', Timing((0.05,) * 3), 4.0, None),
    ]
    found = benchmark.Benchmark('classifier', (224, 224), rows, unsettled=2)
    console = Console(markup=False, width=100, record=True)
    console.print(benchmark.make_table(found, 'title'))
    lines = [line for line in console.export_text().splitlines() if '│' in line]
    assert [line.replace('│', ' ').split() for line in lines] == [
        ['PyTorch', 'fp32', '200.000', '120.000', '280.000', '1.00'],
        ['[b]a.xml', 'int8', '50.000', '50.000', '50.000', '4.00'],
    ]
    text = benchmark.describe(found, benchmark.Settings(rounds=3, warm_up=1))
    assert 'percentile of 3 rounds after 1 to warm up' in text
    assert '2 calls began while other threads' in text
    assert 'no bf16: fp32 is computed in its place' in text
    assert 'Objects found' not in text
