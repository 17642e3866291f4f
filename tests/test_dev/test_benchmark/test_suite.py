"""The figure and the tables of docs/benchmark.md."""

from dataclasses import replace

import pytest
import torch
import yaml
from helpers.benchmark_records import fake, make_record, make_row
from helpers.commands import REPO

from dev.benchmark import cases, peers, plots, report, rounds, suite, whole
from dev.model_zoo.figures import read_published
from mmrapidnet.utils.errors import UserError


@pytest.fixture
def published(tmp_path):
    family = dict(title='A title', paper='p', code='c', architecture=['a'])
    top1 = 'Top 1 Accuracy'
    models = {
        'rapidnet_ti_in1k': [
            dict(figures={top1: 76.3}, source='a paper'),
            dict(setting='longer', figures={top1: 77}, source='a paper'),
        ],
        'rapidnet_s_in1k': [dict(file='S.pth', where='w')],
    }
    peers_ = {
        'timm:fastvit_t8': dict(
            **dict(family='FastViT', label='T8', figures={top1: 75.6}),
            **dict(setting='alone', source='another'),
        )
    }
    path = tmp_path / 'published.yml'
    content = dict(families={'RapidNet': family}, models=models, peers=peers_)
    path.write_text(yaml.safe_dump(content))
    return read_published(path)


@pytest.fixture
def measured():
    row = make_row()
    record = make_record(row)
    row = replace(row, task='classifier', batch=1, size=(224, 224), runtime='openvino')
    record['rows'] = [
        replace(row, model='rapidnet_ti', median_ms=2.0),
        replace(row, model='rapidnet_ti', median_ms=9.0, runtime='eager'),
        replace(row, model='rapidnet_ti', median_ms=9.0, size=(512, 512)),
        replace(row, model='rapidnet_ti', median_ms=9.0, section='Later'),
        replace(row, model='rapidnet_s', median_ms=3.0),
        replace(row, model='timm:fastvit_t8', median_ms=1.5, macs=None),
    ]
    return record


def test_figure(measured, published, tmp_path, monkeypatch):
    out = tmp_path / 'figure.svg'
    captions = []
    monkeypatch.setattr(
        plots.textwrap, 'wrap', lambda text, width: captions.append(text) or []
    )
    points = plots.draw(measured, published, out)
    assert [(p.family, p.label, p.top1, p.latency_ms, p.gmacs) for p in points] == [
        ('RapidNet', 'Ti', 76.3, 2.0, 2.0),
        ('FastViT', 'T8', 75.6, 1.5, None),
    ]
    assert out.stat().st_size > 5000
    (caption,) = captions
    assert 'RapidNet Ti: a paper; FastViT T8: another, alone.' in caption
    assert 'No published accuracy at hand: rapidnet_s.' in caption
    assert 'A TRIAL' in caption and 'A Machine' in caption
    (point,) = plots.draw(measured, published, out, runtime='eager')
    assert point.latency_ms == 9.0


def test_figure_of_nothing(measured, published, tmp_path):
    with pytest.raises(UserError, match='nothing to draw: .* in ncnn at 224x224'):
        plots.draw(measured, published, tmp_path / 'a.png', runtime='ncnn')
    with pytest.raises(UserError, match='nothing to draw: .* in any runtime at 96x96'):
        plots.draw(measured, published, tmp_path / 'a.png', size=96)
    with pytest.raises(UserError, match='--out .*a.xyz: call the picture'):
        plots.draw(measured, published, tmp_path / 'a.xyz')


@pytest.mark.parametrize('device', ['cpu', 'cuda'])
def test_tables_of_the_page(device, monkeypatch):
    """Every case has a baseline, and those of a group stand together."""
    monkeypatch.setattr(peers, 'build_model', lambda name: None)
    monkeypatch.setattr(cases, 'find_device', torch.device)
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(torch.cuda, 'is_bf16_supported', lambda: True)
    published = read_published('configs/published.yml')
    sections = suite.list_classifier_sections(published, device, 2, 'nowhere')
    for section in sections:
        groups = [case.group for case in section.cases]
        assert sorted(groups, key=groups.index) == groups
        for case in section.cases:
            rounds.find_baseline(case, section.cases, section.baseline)
    first, peers_, *_ = sections
    assert {c.size for c in first.cases} == {(224, 224), (512, 512)}
    assert {c.model for c in first.cases} == {'rapidnet_ti'}
    asked = {'repvit_m0_9', 'mobilevig_ti', 'mobilenetv2_x1_4', 'timm:fastvit_t8'}
    assert asked < {c.model for c in peers_.cases}
    assert peers_.baseline == 'rapidnet_ti'
    drawn = {c.model for c in sections[-1].cases}
    assert {'rapidnet_ti', 'repvit_m2_3', 'mobilevig_b', *asked} < drawn
    assert 'rapidnet_s' not in drawn


def test_page_in_one_command(tmp_path, monkeypatch):
    """What is measured is replaced, what is done with it is not."""
    page = tmp_path / 'page.md'
    marks = report._BEGIN, report._END
    page.write_text('before\n{}\nold\n{}\nafter\n'.format(*marks))
    drawn = []
    sections = [rounds.Section('Classifiers', [fake('some')], 'eager')]
    monkeypatch.setattr(suite, 'list_classifier_sections', lambda *a: sections)
    monkeypatch.setattr(plots, 'draw', lambda *a: drawn.append(a[-1]))
    product = rounds.multiply_matrices(edge=16)
    monkeypatch.setattr(rounds, 'multiply_matrices', lambda device: product)
    out = tmp_path / 'out'
    suite.measure_for_page(
        repo=REPO,
        settings=rounds.Settings(2, 0, True, False),
        out=out,
        command='a command',
        page=page,
        device='cpu',
        threads=1,
        folder=str(tmp_path),
    )
    assert drawn == [out / 'benchmark.png']
    rows = report.read_json(out / 'benchmark.json')['rows']
    assert [row.section for row in rows] == ['Classifiers']
    tables = (out / 'benchmark.md').read_text()
    assert page.read_text() == f'before\n{marks[0]}\n\n{tables}\n{marks[1]}\nafter\n'


@pytest.mark.parametrize(
    'given',
    [
        'x.py=y',
        'semfpn_rapidnet_s_ade20k.py',
        'run/semfpn_rapidnet_s_ade20k.py=',
        'semfpn_rapidnet_s_ade20k=y.pth',
    ],
)
def test_trained_models(given):
    message = '--checkpoint .*: write CONFIG=FILE, where CONFIG is the path of one of'
    with pytest.raises(UserError, match=message):
        whole.read_trained([given])
