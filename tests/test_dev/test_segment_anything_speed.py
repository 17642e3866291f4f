"""The comparison with segment-anything's own automatic masks, and of encoders."""

import re

import pytest
from helpers import tiny_sam
from mmengine.config import Config

from dev.segment_anything_encoders import build_encoders, measure_encoders
from dev.segment_anything_speed import measure


def read(table):
    header, _, *rows = (line.strip('|').split('|') for line in table.splitlines())
    return [cell.strip() for cell in header], {
        name.strip(): [float(cell) for cell in cells] for name, *cells in rows
    }


@pytest.mark.slow
def test_tables_of_masks():
    cfg = Config(dict(model=tiny_sam.MODEL))
    tables = measure(cfg, 2, passing=0.5, rounds=1, precisions=['fp32'])
    automatic, box = map(read, tables.split('\n\n'))
    assert automatic[0] == ['automatic masks', 'seconds', 'ratio']
    assert list(automatic[1]) == [
        'segment-anything',
        'mmrapidnet',
        'OpenVINO fp32',
    ]
    assert automatic[1]['segment-anything'][1] == 1
    assert box[0] == ['one box', 'seconds', 'ratio']
    assert set(box[1]) == set(automatic[1])


@pytest.mark.slow
def test_table_of_encoders():
    encoders = build_encoders(tiny_sam.MODEL)
    assert [re.split(r'\W', name)[0] for name in encoders] == [
        'RepViT',
        'MobileSAM',
        'SAM',
    ]
    one = {'RepViT-SAM': encoders['RepViT-SAM']}
    header, rows = read(measure_encoders(one, 64, rounds=1))
    assert header == [
        'encoder at 64',
        'eager',
        'ONNX Runtime',
        'OpenVINO',
        'OpenVINO bf16',
    ]
    assert len(rows['RepViT-SAM']) == 4
