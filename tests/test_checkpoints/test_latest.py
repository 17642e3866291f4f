"""The checkpoint that an interrupted run goes on from."""

import os
import zipfile

import pytest
import torch

from mmrapidnet.checkpoints import latest as latest_module
from mmrapidnet.checkpoints.latest import find_latest, read_run
from mmrapidnet.utils.errors import UserError


@pytest.fixture
def run(tmp_path):
    """Writes checkpoints of a run, each a second after the one before."""
    return Run(tmp_path)


class Run:
    def __init__(self, folder):
        self.folder, self.pointer, self.time = folder, folder / 'last_checkpoint', 0

    def write(self, step, note=True, **content):
        path = self.folder / f'iter_{step}.pth'
        state = dict(state_dict=dict(a=torch.full((1000,), float(step))))
        torch.save(
            {**state, 'optimizer': {}, 'meta': {}, 'message_hub': {}, **content}, path
        )
        self.time += 1
        os.utime(path, (self.time, self.time))
        if note:
            self.pointer.write_text(f'/where/the/run/was/{path.name}')
        return path

    def find(self):
        found = find_latest(self.folder, 'iter_{}.pth', self.pointer)
        if found is None:
            return None
        content, path = found
        step = int(content['state_dict']['a'][0])
        assert path == str(self.folder / f'iter_{step}.pth')
        return step


def test_the_pointers(run):
    assert run.find() is None
    for step in (8, 9, 10):
        run.write(step)
    assert run.find() == 10


@pytest.mark.parametrize('text', [None, '', '/gone/iter_99.pth', '\0\xff'])
def test_pointer_that_is_lost_or_damaged(run, text):
    for step in (8, 9, 10):
        run.write(step)
    run.pointer.unlink()
    if text is not None:
        run.pointer.write_text(text)
    assert run.find() == 10


def test_killed_before_it_was_noted(run):
    run.write(9)
    run.write(10, note=False)
    assert run.find() == 10


def test_an_earlier_run_went_further(run):
    """A checkpoint of another run is not the newest for being further."""
    run.write(440)
    run.write(110)
    assert run.find() == 110
    run.pointer.unlink()
    assert run.find() == 110


def test_a_copy_has_the_files_in_any_order(run):
    for step in (10, 9, 8):
        run.write(step, note=step == 10)
    assert run.find() == 10


def test_others_are_no_candidates(run):
    run.write(1)
    for name in ('best_mIoU_iter_2.pth', 'iter_x.pth', '.iter_3.pth.partial'):
        (run.folder / name).write_bytes((run.folder / 'iter_1.pth').read_bytes())
    assert run.find() == 1


@pytest.mark.parametrize(
    ('template', 'names'),
    [
        ('epoch_{:03d}.pth', ['epoch_002.pth', 'epoch_1000.pth']),
        ('{0}_of_{0}.pth', ['2_of_2.pth', '1000_of_1000.pth']),
        ('iter_{:,}.pth', ['iter_2.pth', 'iter_1,000.pth']),
    ],
)
def test_names_by_any_template(run, template, names):
    """What the template does not give is another file's name."""
    for step, name in zip((2, 1000), names, strict=True):
        run.write(step).rename(run.folder / name)
    for name in ('epoch_2.pth', 'epoch_0x1.pth', '9_of_8.pth', 'iter_1001.pth'):
        (run.folder / name).write_bytes(b'')
    run.pointer.write_text('')
    content, path = find_latest(run.folder, template, run.pointer)
    assert path == str(run.folder / names[1])
    assert int(content['state_dict']['a'][0]) == 1000


@pytest.mark.parametrize('damage', ['truncated', 'zeros', 'empty', 'weights'])
def test_what_is_not_whole_is_passed_over(run, damage, monkeypatch):
    said = []
    monkeypatch.setattr(
        latest_module, 'print_log', lambda line, **kwargs: said.append(line)
    )
    run.write(1)
    run.write(2)
    path = run.write(3)
    whole = path.read_bytes()
    if damage == 'truncated':
        path.write_bytes(whole[: len(whole) // 2])
    elif damage == 'zeros':
        # Of the weights themselves, where nothing else would notice.
        with zipfile.ZipFile(path) as archive:
            name = next(n for n in archive.namelist() if n.endswith('/data/0'))
            inside = whole.index(archive.read(name)) + 100
        path.write_bytes(whole[:inside] + bytes(500) + whole[inside + 500 :])
        assert int(torch.load(path)['state_dict']['a'][100]) == 0
    elif damage == 'empty':
        path.write_bytes(b'')
    else:
        torch.save(dict(state_dict={}), path)
    assert run.find() == 2
    (line,) = said
    assert f'{path} ' in line
    assert line.endswith('passed over, looking for the checkpoint before it')
    for step in (1, 2):
        (run.folder / f'iter_{step}.pth').write_bytes(b'')
    assert run.find() is None


def test_reading_one(run):
    path = run.write(1, optimizer=dict(state={}))
    assert read_run(str(path))['optimizer'] == dict(state={})
    torch.save(dict(state_dict={}), path)
    with pytest.raises(UserError, match=r'iter_1.pth cannot be resumed: it holds weig'):
        read_run(str(path))
    path.write_bytes(b'PK')
    with pytest.raises(UserError, match=r'iter_1.pth is truncated or not a checkpoint'):
        read_run(str(path))
