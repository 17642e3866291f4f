"""A process that dies, hangs or refuses: each is one line in the process that asked."""

import operator
import os

import numpy as np
import psutil
import pytest
from helpers.exported_files import write_ncnn
from helpers.in_a_child import die

from mmrapidnet.deploy.formats import load_format
from mmrapidnet.deploy.inference import ExportedModel
from mmrapidnet.deploy.isolated import Child, FileError, IsolatedSession
from mmrapidnet.utils.errors import UserError

IMAGE = np.arange(2 * 3 * 4, dtype=np.float32).reshape(1, 3, 2, 4)


@pytest.fixture
def children():
    """What this process has started since."""
    before = set(psutil.Process().children())
    return lambda: [c for c in psutil.Process().children() if c not in before]


def test_outputs_and_metadata_are_the_files(tmp_path, children):
    path = write_ncnn(tmp_path / 'relu.ncnn.param', 'ReLU relu 1 1')
    session = IsolatedSession(path, threads=1)
    assert session.metadata == load_format('ncnn').Session(path).metadata
    (before,) = children()
    for image in (IMAGE - 10, IMAGE):
        np.testing.assert_array_equal(session(image)['feature0'], image.clip(0))
    # What the file refuses is said in its own words, and the process goes on.
    with pytest.raises(UserError, match=f'^{path} takes images as float32') as error:
        session(IMAGE[0])
    assert '\n' not in str(error.value)
    np.testing.assert_array_equal(session(IMAGE)['feature0'], IMAGE)
    # A function gets the session of the process.
    assert session.do(getattr, 'metadata') == session.metadata
    assert children() == [before]
    with pytest.raises(FileError, match='^relu.* died of SIGKILL') as error:
        session.do(die)
    assert error.value.path == path
    del session, error
    assert not children()


def test_a_file_that_ends_the_process(tmp_path):
    """A layer without the numbers that it needs, at which ncnn reads from nowhere."""
    path = write_ncnn(tmp_path / 'slice.ncnn.param', 'Slice slice 1 1')
    model = ExportedModel(path, isolated=True)
    with pytest.raises(UserError) as error:
        model(np.zeros((8, 8, 3), np.uint8))
    assert str(error.value) == (
        'slice.ncnn.param cannot be run on this machine (export it for one size, in '
        'another precision or for another runtime): the process that did it died of '
        'SIGSEGV (Segmentation fault)'
    )
    with pytest.raises(UserError, match='SIGSEGV'):
        model(np.zeros((8, 8, 3), np.uint8))


def test_a_file_that_cannot_be_opened(tmp_path):
    path = write_ncnn(tmp_path / 'x.ncnn.param', 'ReLU relu 1 1')
    path.with_suffix('.json').write_text('{}')
    with pytest.raises(UserError, match='does not say what it holds'):
        IsolatedSession(path)


def test_calls():
    child = Child()
    assert child.call('adding', operator.add, 2, 3) == 5
    # Whatever is raised is one line.
    with pytest.raises(UserError, match=r"^counting: invalid literal .* 'x'$"):
        child.call('counting', int, 'x')
    assert child.call('asking', os.getppid) == os.getpid()
    with pytest.raises(
        UserError, match='^leaving: the process that did it ended with status 3$'
    ):
        child.call('leaving', os._exit, 3)


def test_what_is_printed(capfd):
    """At once, although a child is killed in the end, and in its order."""
    print('before')
    child = Child(patience=0)
    child.call('printing', print, 'within')
    print('after')
    del child
    assert capfd.readouterr().out.split() == ['before', 'within', 'after']


def test_patience_ends():
    """Also with code that does not return to Python, where no handler would run."""
    child = Child(patience=1)
    with pytest.raises(UserError, match='^z: .* took more than 1 seconds$'):
        child.call('z', any, iter(int, 1))
