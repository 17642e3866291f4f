"""Files give what PyTorch gives, at the size they were exported at and at others."""

import itertools

import numpy as np
import pytest
from helpers.exported_files import (
    ODD,
    PHONE_FORMATS,
    SIZE,
    difference,
    make_graph,
    picture,
)

from mmrapidnet.deploy.formats import open_session
from mmrapidnet.utils.errors import UserError


@pytest.mark.parametrize(
    ('name', 'fmt'),
    [
        *itertools.product(('segmenter', 'pyramid'), ('onnx', 'openvino', 'ncnn')),
        pytest.param('classifier', 'onnx', marks=pytest.mark.slow),
        ('classifier', 'ncnn'),
    ],
)
def test_any_size(name, fmt, write, capfd):
    make_graph(name)
    capfd.readouterr()  # what is logged of a model that is built
    path = write(name, fmt)
    session = open_session(path, threads=1)
    assert session.metadata['input']['size'] is None
    for height, width in (SIZE, ODD, (65, 33)):
        assert difference(session, name, picture(height, width)) < 5e-6
    captured = capfd.readouterr()
    assert not captured.out and not captured.err


@pytest.mark.parametrize('fmt', ['onnx', 'openvino'])
def test_any_number_of_images(fmt, write):
    session = open_session(write('segmenter', fmt), threads=1, size=SIZE)
    assert session.metadata['input']['batch'] is None
    for batch in (3, 1):
        assert difference(session, 'segmenter', picture(*SIZE, batch)) < 5e-6


@pytest.mark.parametrize('fmt', ['onnx', 'openvino', 'ncnn', *PHONE_FORMATS])
def test_dense_part_pads_inside(fmt, write):
    """Those for phones have the numbers of one size; the others compute them."""
    session = open_session(write('dense', fmt, size=ODD), threads=1)
    fixed = session.metadata['input']['size']
    assert fixed == (None if fmt in ('onnx', 'openvino') else list(ODD))
    for size in (ODD,) if fixed else (ODD, SIZE):
        assert difference(session, 'dense', picture(*size)) < 5e-6
    with pytest.raises(UserError, match='takes 1 image at a time, not 2'):
        session(picture(*ODD, batch=2))


@pytest.mark.parametrize('fmt', ['onnx', 'openvino', 'ncnn', *PHONE_FORMATS])
def test_what_compares_all_pixels_has_one_size(fmt, write):
    session = open_session(write('mobilevig', fmt), threads=1)
    assert session.metadata['input']['size'] == [64, 96]
    assert difference(session, 'mobilevig', picture(*SIZE)) < 5e-6
    with pytest.raises(UserError, match='takes images of 64x96 only .*not of 70x101'):
        session(picture(*ODD))
    with pytest.raises(UserError, match='takes images of 64x96 only'):
        open_session(write('mobilevig', fmt), size=ODD)


@pytest.mark.parametrize('fmt', ['onnx', 'openvino', 'ncnn', *PHONE_FORMATS])
def test_a_size_can_be_fixed(fmt, write):
    session = open_session(write('pyramid', fmt, size=ODD, fixed=True), threads=1)
    assert session.metadata['input']['size'] == list(ODD)
    assert difference(session, 'pyramid', picture(*ODD)) < 5e-6
    with pytest.raises(UserError, match='takes images of 70x101 only'):
        session(picture(*SIZE))


@pytest.mark.parametrize('fmt', ['onnx', 'openvino', 'ncnn', *PHONE_FORMATS])
def test_images_may_lie_in_memory_as_they_like(fmt, write):
    """As a picture read by OpenCV does, once its channels come first."""
    session = open_session(write('pyramid', fmt), threads=1)
    rows = np.ascontiguousarray(picture(*SIZE)[0].transpose(1, 2, 0))
    image = rows.transpose(2, 0, 1)[None]
    assert not image.flags.c_contiguous
    assert difference(session, 'pyramid', image) < 5e-6


@pytest.mark.parametrize('fmt', ['onnx', 'openvino', 'ncnn'])
def test_a_file_opened_for_one_size(fmt, write):
    session = open_session(write('pyramid', fmt), threads=1, size=ODD)
    assert difference(session, 'pyramid', picture(*ODD)) < 5e-6
    with pytest.raises(UserError, match='was opened for images of 70x101 .*not of 64'):
        session(picture(*SIZE))
