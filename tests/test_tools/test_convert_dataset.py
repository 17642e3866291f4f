"""The command line that converts published data sets, once for each layout."""

import re

import pytest
from helpers.commands import assert_one_line_error, call_tool
from helpers.published_data import write_camvid, write_nuclei, write_tiny_imagenet

WNIDS = ('n01', 'n02', 'n03')


@pytest.mark.parametrize(
    ('write', 'options', 'rows'),
    [
        (write_camvid, ('camvid',), ('train val test', 'images 2 1 1')),
        (write_nuclei, ('nuclei', '--first', 3, 1), ('train val', 'nuclei 6 2')),
        (
            lambda root: write_tiny_imagenet(root, WNIDS),
            ('tiny-imagenet', '--every', 2),
            ('classes 2 2', 'images per class [2, 2] [1, 1]'),
        ),
    ],
)
def test_a_layout(tmp_path, write, options, rows):
    src, out = write(tmp_path / 'published'), tmp_path / 'out'
    done = call_tool('convert_dataset.py', *options, src, out)
    assert done.returncode == 0, done.stderr
    text = re.sub('[ │┃]+', ' ', done.stdout)
    for row in rows:
        assert f' {row} \n' in text
    assert (out / 'train').is_dir() or (out / 'images' / 'train').is_dir()
    again = call_tool('convert_dataset.py', *options, src, out)
    assert_one_line_error(again, f'{out} exists and holds something')


def test_options_of_nuclei(tmp_path):
    src = write_nuclei(tmp_path / 'published')
    tool = ('convert_dataset.py', 'nuclei', src, tmp_path / 'out')
    small = call_tool(*tool, '--max-size', 40)
    assert_one_line_error(small, '0 images of', 'keep more by --max-size, --all-kinds')
    done = call_tool(*tool, '--max-size', 48, '--all-kinds')
    assert done.returncode == 0, done.stderr


def test_no_layout(tmp_path):
    done = call_tool('convert_dataset.py', 'coco', tmp_path, tmp_path / 'out')
    assert done.returncode == 2
    assert "invalid choice: 'coco'" in done.stderr
