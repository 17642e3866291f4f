from pathlib import Path

import pytest

from mmrapidnet.deploy.placing import in_place_of
from mmrapidnet.errors import UserError


def write(out, text, beside=('.bin',)):
    with in_place_of(out) as path:
        path.write_text(text)
        for suffix in beside:
            path.with_suffix(suffix).write_text(text)


def read_all(folder):
    return {path.name: path.read_text() for path in folder.rglob('*') if path.is_file()}


def test_all_files_take_their_places(tmp_path):
    out = tmp_path / 'new' / 'model.xml'
    write(out, 'first')
    assert read_all(tmp_path) == {'model.xml': 'first', 'model.bin': 'first'}
    write(out, 'second')
    assert read_all(tmp_path) == {'model.xml': 'second', 'model.bin': 'second'}
    assert [path.name for path in tmp_path.iterdir()] == ['new']


@pytest.mark.parametrize('failure', [UserError, RuntimeError, KeyboardInterrupt])
def test_a_failure_leaves_what_was_there(failure, tmp_path):
    out = tmp_path / 'model.xml'
    write(out, 'before')
    with pytest.raises(failure), in_place_of(out) as path:
        path.write_text('half')
        raise failure
    assert read_all(tmp_path) == {'model.xml': 'before', 'model.bin': 'before'}
    fresh = tmp_path / 'fresh' / 'model.xml'
    with pytest.raises(failure), in_place_of(fresh):
        raise failure
    assert sorted(p.name for p in tmp_path.iterdir()) == ['model.bin', 'model.xml']


def test_a_folder_replaces_a_folder(tmp_path):
    out = tmp_path / 'model.mlpackage'
    for text in ('first', 'second'):
        with in_place_of(out) as path:
            path.mkdir()
            (path / text).write_text(text)
    assert read_all(tmp_path) == {'second': 'second'}


def test_what_would_be_lost(tmp_path):
    out = tmp_path / 'model.onnx'
    out.mkdir()
    (out / 'kept').touch()
    with pytest.raises(UserError, match='model.onnx is a folder, which would be lost'):
        write(out, 'text', beside=())
    assert (out / 'kept').exists()
    package = tmp_path / 'model.mlpackage'
    package.write_text('kept')
    message = 'model.mlpackage is a file, which would be lost'
    with pytest.raises(UserError, match=message), in_place_of(package) as path:
        path.mkdir()
    assert package.read_text() == 'kept'


def test_a_place_that_cannot_be_written():
    with pytest.raises(UserError, match='/proc/model.onnx cannot be written: '):
        write(Path('/proc/model.onnx'), 'text')
