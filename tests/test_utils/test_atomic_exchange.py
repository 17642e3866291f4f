import os
from pathlib import Path

import pytest

from mmrapidnet.utils import atomic as atomic_module
from mmrapidnet.utils.atomic import replace_atomic
from mmrapidnet.utils.errors import UserError


def write(out, text, beside=('.bin',)):
    with replace_atomic(out) as path:
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
    with pytest.raises(failure), replace_atomic(out) as path:
        path.write_text('half')
        raise failure
    assert read_all(tmp_path) == {'model.xml': 'before', 'model.bin': 'before'}
    fresh = tmp_path / 'fresh' / 'model.xml'
    with pytest.raises(failure), replace_atomic(fresh):
        raise failure
    assert sorted(p.name for p in tmp_path.iterdir()) == ['model.bin', 'model.xml']


def write_two_parts(out, text):
    write(out, text, beside=('.bin', '.json'))


def stop_at(step, when, stop, monkeypatch):
    """Stop before or after one of the renames."""
    calls = iter(range(100))

    def replace(source, target, replace=os.replace):
        here = next(calls) == step
        if here and when == 'before':
            stop()
        replace(source, target)
        if here and when == 'after':
            stop()

    monkeypatch.setattr(atomic_module.os, 'replace', replace)
    return calls


# Of three files to be replaced: one goes, two are exchanged, one comes.
RENAMES = 6
NAMES = ('model.xml', 'model.bin', 'model.json')


@pytest.mark.parametrize('failure', [KeyboardInterrupt, OSError])
@pytest.mark.parametrize('when', ['before', 'after'])
@pytest.mark.parametrize('step', range(RENAMES))
def test_an_interruption_between_files(step, when, failure, tmp_path, monkeypatch):
    """All of the old ones are there again, unless the last new one came."""
    out = tmp_path / 'model.xml'
    write_two_parts(out, 'old')

    def stop():
        raise failure

    with monkeypatch.context() as patched:
        stop_at(step, when, stop, patched)
        expected = UserError if failure is OSError else failure
        with pytest.raises(expected):
            write_two_parts(out, 'new')
    done = (step, when) == (RENAMES - 1, 'after')
    assert read_all(tmp_path) == dict.fromkeys(NAMES, 'new' if done else 'old')


@pytest.mark.parametrize('step', range(RENAMES + 1))
def test_a_kill_between_files(step, tmp_path, monkeypatch):
    """All are old or all are new, or the main file is absent: never is one mixed."""
    out = tmp_path / 'model.xml'
    write_two_parts(out, 'old')
    child = os.fork()
    if not child:
        stop_at(step, 'before', lambda: os._exit(0), monkeypatch)
        write_two_parts(out, 'new')
        os._exit(0)
    os.waitpid(child, 0)
    found = {p.name: p.read_text() for p in tmp_path.iterdir() if p.is_file()}
    assert out.exists() == (step in (0, RENAMES))
    if out.exists():
        whole = 'old' if step == 0 else 'new'
        assert found == dict.fromkeys(NAMES, whole)
    left = [(p.name, p.read_text()) for p in tmp_path.rglob('*') if p.is_file()]
    assert set(left) >= {(name, 'new') for name in NAMES}
    write_two_parts(out, 'again')
    assert {(tmp_path / name).read_text() for name in NAMES} == {'again'}


def test_a_single_file_is_never_absent(tmp_path, monkeypatch):
    out = tmp_path / 'model.onnx'
    write(out, 'old', beside=())
    seen = []

    def replace(source, target, replace=os.replace):
        seen.append(out.read_text())
        replace(source, target)
        seen.append(out.read_text())

    monkeypatch.setattr(atomic_module.os, 'replace', replace)
    write(out, 'new', beside=())
    assert seen == ['old', 'new']


def test_a_folder_replaces_a_folder(tmp_path):
    out = tmp_path / 'model.mlpackage'
    for text in ('first', 'second'):
        with replace_atomic(out) as path:
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
    with pytest.raises(UserError, match=message), replace_atomic(package) as path:
        path.mkdir()
    assert package.read_text() == 'kept'


def test_a_place_that_cannot_be_written():
    with pytest.raises(UserError, match='/proc/model.onnx cannot be written: '):
        write(Path('/proc/model.onnx'), 'text')
