"""Files that are whole or absent."""

import errno
import os

import pytest

from mmrapidnet.utils.atomic import remove_leftovers, write_atomic


def test_writing_and_replacing(tmp_path):
    path = tmp_path / 'new' / 'iter_1.pth'
    for content in (b'first', b'second'):
        write_atomic(path, content)
        assert path.read_bytes() == content
    assert os.listdir(path.parent) == ['iter_1.pth']


def test_file_and_folder_are_synced_before_and_after_the_name(tmp_path, monkeypatch):
    steps = []
    sync, replace = os.fsync, os.replace

    def note_sync(descriptor):
        steps.append(os.readlink(f'/proc/self/fd/{descriptor}'))
        sync(descriptor)

    def note_replace(source, target):
        steps.append(str(target))
        replace(source, target)

    monkeypatch.setattr(os, 'fsync', note_sync)
    monkeypatch.setattr(os, 'replace', note_replace)
    write_atomic(tmp_path / 'a', b'content')
    assert steps == [f'{tmp_path}/.a.partial', f'{tmp_path}/a', str(tmp_path)]


def test_full_disk(tmp_path):
    """/dev/full is a disk without room; the file as it was is still there."""
    path = tmp_path / 'a'
    path.write_bytes(b'as it was')
    (tmp_path / '.a.partial').symlink_to('/dev/full')
    with pytest.raises(OSError, match='No space left on device') as caught:
        write_atomic(path, b'content')
    assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, str(path))
    assert path.read_bytes() == b'as it was'
    assert os.listdir(tmp_path) == ['a']


def test_leftovers(tmp_path):
    for name in ('.iter_2.pth.partial', 'iter_1.pth', 'notes.partial', '.hidden'):
        (tmp_path / name).touch()
    remove_leftovers(tmp_path)
    assert sorted(os.listdir(tmp_path)) == ['.hidden', 'iter_1.pth', 'notes.partial']
    remove_leftovers(tmp_path / 'nowhere')
