"""The comparison with segment-anything's own automatic masks."""

import re

from helpers import tiny_sam
from mmengine.config import Config

from dev.segment_anything_speed import measure


def test_table():
    table = measure(Config(dict(model=tiny_sam.MODEL)), 2, passing=0.5, rounds=1)
    header, _, package, ours = table.splitlines()
    assert re.findall(r'\w+', header) == ['seconds', 'ratio']
    assert re.match(r'\| segment-anything +\| \d+\.\d +\| 1\.00 +\|$', package)
    assert re.match(r'\| mmrapidnet +\| \d+\.\d +\| \d+\.\d\d +\|$', ours)
