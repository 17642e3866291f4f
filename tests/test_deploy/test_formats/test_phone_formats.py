"""ExecuTorch and LiteRT: files for one size, which phones run as this CPU does."""

import sys

import pytest
from helpers.exported_files import (
    PHONE_FORMATS,
    SIZE,
    difference,
    make_graph,
    picture,
)
from helpers.tiny_models import TWO_BLOCKS, load, write_checkpoint
from mmengine.config import Config

from mmrapidnet.apis.inference import infer
from mmrapidnet.apis.test import test as run_test
from mmrapidnet.deploy.export import export
from mmrapidnet.deploy.formats import SUFFIXES, load_format, open_session
from mmrapidnet.utils.errors import UserError

pytestmark = pytest.mark.parametrize('fmt', PHONE_FORMATS)


@pytest.mark.parametrize('name', ['classifier', 'segmenter'])
def test_outputs(name, fmt, write, capfd):
    make_graph(name)
    capfd.readouterr()  # what is logged of a model that is built
    session = open_session(write(name, fmt), threads=1)
    taken = session.metadata['input']
    assert (taken['size'], taken['batch']) == (list(SIZE), 1)
    assert difference(session, name, picture(*SIZE)) < 1e-5
    captured = capfd.readouterr()
    assert not captured.out and not captured.err


@pytest.mark.parametrize('name', ['classifier', 'segmenter'])
def test_int8(name, fmt, write):
    path = write(name, fmt, 'int8', images=2)
    assert 1e-4 < difference(open_session(path, threads=1), name, picture(*SIZE)) < 0.1
    assert path.stat().st_size < 0.6 * write(name, fmt).stat().st_size
    with pytest.raises(UserError, match='int8 needs images to calibrate on'):
        write(name, fmt, 'int8')


def test_fp16(fmt, write):
    if 'fp16' not in load_format(fmt).PRECISIONS['classifier']:
        pytest.skip(f'{fmt} has no fp16')
    path = write('classifier', fmt, 'fp16')
    found = difference(open_session(path, threads=1), 'classifier', picture(*SIZE))
    assert 1e-5 < found < 2e-3
    assert path.stat().st_size < 0.7 * write('classifier', fmt).stat().st_size


def test_a_file_without_metadata(fmt, write, tmp_path):
    path = write('pyramid', fmt)
    content = path.read_bytes()
    assert content.count(b'mmrapidnet') > 1
    other = tmp_path / f'other{SUFFIXES[fmt]}'
    other.write_bytes(content.replace(b'mmrapidnet', b'mmrapidnot'))
    with pytest.raises(UserError, match='does not say what it holds .*export the chec'):
        open_session(other)


def test_a_missing_converter_names_the_extra(fmt, write, monkeypatch):
    package = {'executorch': 'executorch.exir', 'litert': 'litert_torch'}[fmt]
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(
        UserError, match=rf'{fmt} needs {package}, .*pip install "mmrapidnet\[{fmt}\]"'
    ):
        write('pyramid', fmt, size=(32, 32))


def test_a_segmenter_is_exported_tested_and_drawn(fmt, shapes_root, tmp_path):
    root = shapes_root / 'ade'
    cfg = load('segmenter', tmp_path, root, TWO_BLOCKS)
    cfg.work_dir = str(tmp_path / 'run')
    checkpoint = str(write_checkpoint(cfg, tmp_path / 'seg.pth'))
    out = tmp_path / f'seg{SUFFIXES[fmt]}'
    report = export(Config(cfg.to_dict()), checkpoint, fmt, out)
    assert report.metadata['input']['size'] == [192, 192]
    assert all(d.is_tolerable for d in report.differences)
    metrics = [run_test(Config(cfg.to_dict()), p) for p in (checkpoint, str(out))]
    assert metrics[0] == pytest.approx(metrics[1], abs=0.1)
    image = next(root.glob('images/validation/*.jpg'))
    infer(Config(cfg.to_dict()), str(out), [str(image)], str(tmp_path / 'drawn'))
    assert (tmp_path / 'drawn' / 'vis' / image.name).is_file()
