"""Tables, pages and files of what was measured."""

import json
from dataclasses import replace

import pytest
from helpers.benchmark_records import make_record, make_row
from helpers.tables import read_rows

from dev.benchmark import report
from mmrapidnet.utils.errors import UserError


def test_row_by_hand():
    row = make_row()
    assert row.median_ms == 1000
    assert (row.p10_ms, row.p90_ms) == pytest.approx((600, 1800))
    assert row.images_per_second == 4
    assert row.ratio == 3
    assert row.peak_share == 4 * 2 / 32
    assert row.matmul_gmacs_per_second == 32


def test_cells_and_page(tmp_path):
    row = make_row()
    record = make_record(row)
    cells = report.make_cells(row)
    assert len(cells) == len(report.COLUMNS)
    assert cells == (
        'a',
        'fused',
        '8x8',
        '4',
        '1000',
        '600.0',
        '1800',
        '3.00',
        '4.000',
        '12',
        '1.500',
        '2.000',
        '25',
    )
    uncounted = replace(row, macs=None, peak_share=None, memory=None)
    assert report.make_cells(uncounted)[-4:] == ('', '1.500', '', '')

    tables = report.to_markdown(record)
    assert '**A table; ratio: times faster than eager**' in tables
    assert cells in read_rows(tables)
    assert 'A TRIAL' in tables and '`a command`' in tables
    assert 'A Machine (An OS), torch 2.0, ncnn 1.0, with' in tables
    assert '32 to 32 GMAC/s' in tables
    assert 'Objects found in the image: a in fused 3.' in tables
    assert 'int8' not in tables
    assert 'another thread' not in tables
    record['rows'] = [replace(row, precision='int8', unsettled_turns=5)]
    tables = report.to_markdown(record)
    assert 'int8 is calibrated: on noise.' in tables
    assert 'up to 5 turns' in tables

    page = tmp_path / 'README.md'
    begin, end = report._BEGIN, report._END
    page.write_text(f'before\n{begin}\nold\n{end}\nafter\n')
    new = report.place_in_page('tables\n', page)
    assert new == f'before\n{begin}\n\ntables\n\n{end}\nafter\n'
    page.write_text(f'before\n{begin}\n')
    with pytest.raises(UserError, match='README.md has no place for the tables'):
        report.place_in_page('tables', page)
    with pytest.raises(UserError, match='there is no page'):
        report.place_in_page('tables', tmp_path / 'other.md')


@pytest.mark.parametrize(
    ('model', 'runtime', 'baseline', 'head'),
    [
        ('a', 'eager', 'a/fused', 'fused'),
        ('a', 'eager', 'b/eager', 'b'),
        ('a', 'eager', 'b/fused', 'b/fused'),
    ],
)
def test_what_a_ratio_is_to(model, runtime, baseline, head):
    row = make_row()
    record = make_record(row)
    record['rows'] = [replace(row, model=model, runtime=runtime, baseline=baseline)]
    assert f'ratio: times faster than {head}**' in report.to_markdown(record)


def test_json_holds_every_call(tmp_path):
    row = make_row()
    record = make_record(row)
    path = tmp_path / 'benchmark.json'
    report.write_json(record, path)
    (entry,) = json.loads(path.read_text())['rows']
    assert entry['seconds'] == [0.5, 1.0, 2.0]
    assert (entry['precision'], entry['fused'], entry['batch']) == ('fp32', True, 4)
    assert report.read_json(path) == record


@pytest.mark.parametrize(
    'text', ['[]', '{"rows": [{"model": "a"}]}', '{"rows": ', '{}']
)
def test_files_of_others(tmp_path, text):
    path = tmp_path / 'other.json'
    path.write_text(text)
    with pytest.raises(UserError, match='other.json is no result of this tool'):
        report.read_json(path)
