"""Whole models side by side: what is listed, its table, its figure and its command."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from helpers.benchmark_records import fake, make_record, make_row
from helpers.commands import REPO
from helpers.tables import read_rows
from torch import nn

from dev.benchmark import (
    peer_cases,
    peer_detectors,
    report,
    rounds,
    suite,
    whole,
    whole_plot,
)
from dev.benchmark.dense_cases import ConfiguredModel, draw_example, list_dense
from dev.benchmark.peer_cases import list_peer
from dev.benchmark.peer_detectors import PEERS, PeerDetector, build_peer
from dev.model_zoo.figures import read_published
from mmrapidnet.utils.errors import UserError

TINY = 'rtmdet-ins_tiny_8xb32-300e_coco'
MASK_RCNN, OURS = 'maskrcnn_rapidnet_s_coco', 'rtmdet_ins_rapidnet_ti_coco'
DFINE = 'transformers:dfine_n'
RUNTIMES = ['eager', 'openvino']


@pytest.fixture(scope='module')
def published():
    return read_published(REPO / 'configs' / 'published.yml')


@pytest.fixture
def listed(monkeypatch):
    """Lists fakes, and what they were asked for; no peer is installed."""
    given = []

    def dense(source, runtimes, image, *where):
        assert image.is_file()
        given.append((source, list(runtimes)))
        return [fake(source.name, name) for name in runtimes]

    def steps(source, runtimes, size, batch, *where):
        given.append((source, size))
        return [fake(f'{source.name}_step')]

    monkeypatch.setattr(whole, 'list_dense', dense)
    monkeypatch.setattr(whole, 'list_training', steps)
    monkeypatch.setattr(whole, 'available_runtimes', lambda names, device: [*names])
    monkeypatch.setattr(peer_detectors, 'find_spec', lambda name: None)
    return given


def test_what_is_measured(listed, tmp_path):
    trained = {MASK_RCNN: (f'run/{MASK_RCNN}.py', 'a.pth')}
    where = ('cpu', 1, str(tmp_path))
    first, *others = whole.list_whole_sections(whole.NAMES, trained, *where)
    assert first.together and first.title == whole.DETECTION
    assert first.missing == dict.fromkeys(PEERS, 'not installed')
    assert [section.title for section in others] == [
        'Semantic FPN RapidNet-S, from an image file to the result',
        'Semantic FPN RapidNet-Ti for phones, from an image file to the result',
        'Mask R-CNN RapidNet-S, a training step',
        'Semantic FPN RapidNet-S, a training step',
    ]
    usual = ['eager', 'onnxruntime', 'openvino', 'openvino-bf16']
    sources = {source.name: (source, *rest) for source, *rest in listed[:6]}
    # int8 only of a model with a data set, whose metric it keeps.
    source, runtimes = sources[MASK_RCNN]
    assert (source.config, source.checkpoint) == trained[MASK_RCNN]
    assert source.resize == (800, 1216) and runtimes == [*usual, 'openvino-int8']
    source, runtimes = sources[TINY]
    assert source.options == (('model.test_cfg.score_thr', 0.0),)
    assert source.read().model.test_cfg.score_thr == 0 and runtimes == usual
    assert [size for _, size in listed[6:]] == [(800, 1216), (512, 512)]
    for section in (first, *others):
        for case in section.cases:
            rounds.find_baseline(case, section.cases, section.baseline)


def test_some_are_measured(listed, tmp_path):
    where = ({}, 'cpu', 1, str(tmp_path))
    (section,) = whole.list_whole_sections([OURS, DFINE], *where)
    assert {case.model for case in section.cases} == {OURS}
    assert list(section.missing) == [DFINE]
    with pytest.raises(UserError, match='dfine_n needs transformers, which is not ins'):
        whole.list_whole_sections([DFINE], *where)
    with pytest.raises(UserError, match='--models yolo: choose some of maskrcnn_rapid'):
        whole.list_whole_sections(['yolo'], *where)


def test_configs_are_there(tmp_path):
    for model in whole.MODELS.values():
        assert Path(model.find_config()).is_file()
    picture = draw_example(tmp_path, (427, 640))
    for name in (OURS, TINY):
        source = ConfiguredModel(whole.MODELS[name].find_config())
        (case,) = list_dense(source, ['eager'], picture, 'cpu', 1, 'nowhere')
        assert (case.model, case.size) == (name, (640, 640))


def test_all_are_measured_in_turns(monkeypatch):
    """Whatever their size."""
    product = rounds.multiply_matrices(edge=16)
    monkeypatch.setattr(rounds, 'multiply_matrices', lambda device: product)
    cases = [fake(), fake('b', size=(9, 9))]
    together = rounds.Section(
        'A', cases, 'eager', memory=False, together=True, missing={'c': 'not here'}
    )
    groups = []
    settings = rounds.Settings(rounds=1, warm_up=0, trial=True)
    record = rounds.run([together], settings, '', lambda r: groups.append(r['rows'][:]))
    assert len(groups) == 1
    assert [(row.model, row.size) for row in record['rows']] == [
        ('a', (8, 8)),
        ('b', (9, 9)),
    ]
    assert record['missing'] == {'A': {'c': 'not here'}}


@pytest.fixture
def measured():
    """Of three detectors in two runtimes, and of a segmenter."""
    row = replace(make_row(), section=whole.DETECTION, found={})
    record = make_record(row)
    milliseconds = {
        (MASK_RCNN, 'eager'): 3000.0,
        (MASK_RCNN, 'openvino'): 800.0,
        (OURS, 'eager'): 200.0,
        (OURS, 'openvino'): 50.0,
        (TINY, 'eager'): 400.0,
        (TINY, 'onnxruntime'): 100.0,
    }
    record['rows'] = [
        replace(row, model=model, runtime=runtime, median_ms=ms, ratio=2.0)
        for (model, runtime), ms in milliseconds.items()
    ]
    record['rows'].append(replace(row, section='A segmenter', model='semfpn'))
    record['missing'] = {whole.DETECTION: {DFINE: 'not installed'}}
    return record


def test_the_table_by_hand(measured, published):
    text = whole.to_markdown(measured, published)
    table = text.split(f'**{whole.DETECTION}**')[1].split('Times eager')[0]
    header, *cells = read_rows(table)
    assert header == whole.COLUMNS
    rows = {row[:2]: row[3:] for row in cells}
    assert len(rows) == 7
    times = {key: cells[3:5] for key, cells in rows.items()}
    assert times[OURS, 'eager'] == ('2.00', '15.00')
    assert times[OURS, 'openvino'] == ('2.00', '16.00')
    assert times[MASK_RCNN, 'openvino'] == ('2.00', '1.00')
    # There was no Mask R-CNN in that runtime.
    assert times[TINY, 'onnxruntime'] == ('2.00', '')
    assert rows[TINY, 'eager'][5:] == ('40.5', '35.4', '1.500')
    assert rows[OURS, 'eager'][5:] == ('', '', '1.500')
    assert rows[DFINE, 'not installed'] == ('',) * 5 + ('42.7', '', '')
    assert f'{TINY}: open-mmlab/mmdetection 3.3.0, configs/rtmdet/metafile.yml' in text
    assert text.count('**A segmenter; ratio: times faster than') == 1
    assert text.count('A TRIAL') == 1


def test_the_figure(measured, published, tmp_path):
    out = tmp_path / 'whole.png'
    drawn = whole_plot.draw(measured, published, out)
    assert drawn == {'mask AP': [TINY], 'box AP': [TINY]}
    assert out.read_bytes().startswith(b'\x89PNG')


@pytest.fixture
def tiny_peer(monkeypatch):
    """A peer with masks, which looks at its image, in the place of D-FINE."""

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 120, 4, 4)

        def forward(self, pixel_values):
            masks = self.conv(pixel_values)
            pooled = masks.flatten(2)
            return SimpleNamespace(
                logits=pooled[..., :5],
                pred_boxes=pooled[..., 5:9].sigmoid(),
                pred_masks=masks,
            )

    outputs = ('logits', 'pred_boxes', 'pred_masks')
    tiny = {DFINE: PeerDetector(Model, (32, 48), outputs)}
    for module in (peer_cases, peer_detectors):
        monkeypatch.setattr(module, 'PEERS', tiny)
    monkeypatch.setattr(peer_detectors, 'find_spec', lambda name: True)
    peer_cases._count.cache_clear()
    yield build_peer(DFINE)
    peer_cases._count.cache_clear()


def test_peers_predict_the_same_in_every_runtime(tiny_peer, tmp_path):
    picture = draw_example(tmp_path, (50, 70))
    names = ('eager', 'onnxruntime')
    eager, exported = list_peer(DFINE, names, picture, 'cpu', 1, str(tmp_path))
    assert (eager.size, eager.task) == ((32, 48), 'image file to result')
    expected, found = eager.open()(), exported.open()()
    assert expected['masks'].shape == (100, 50, 70)
    assert (np.diff(expected['scores']) <= 0).all()
    # In pixels of the picture, around centres and of extents up to its size.
    assert expected['boxes'][:, 2].max() > 50
    assert (expected['boxes'][:, 2:] >= expected['boxes'][:, :2]).all()
    for name in ('boxes', 'scores'):
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-4, atol=1e-4)
    assert (found['labels'] == expected['labels']).all()
    assert (found['masks'] == expected['masks']).mean() > 0.999
    assert eager.describe(found) == {'detections': 100}
    assert eager.complexity().params == 3 * 16 * 120 + 120


def test_channels_of_a_peer(tiny_peer):
    """An image comes in BGR, the library's models take RGB from 0 to 1."""
    image = torch.rand(1, 3, 32, 48) * 255
    logits, *_ = tiny_peer(image)
    expected = tiny_peer.model(image[:, [2, 1, 0]] / 255).logits
    torch.testing.assert_close(logits, expected)


@pytest.mark.slow
@pytest.mark.parametrize(
    ('name', 'params'), [(DFINE, 3.77), ('transformers:rf_detr_seg_n', 33.58)]
)
def test_peers_are_those_that_are_published(name, params):
    pytest.importorskip('transformers')
    model = build_peer(name)
    counted = sum(p.numel() for p in model.parameters()) / 1e6
    assert counted == pytest.approx(params, abs=0.005)


def test_one_command(tmp_path, monkeypatch, published):
    """What is measured is replaced, what is done with it is not."""
    page = tmp_path / 'page.md'
    page.write_text(f'before\n{whole.BEGIN}\nold\n{whole.END}\nafter\n')
    product = rounds.multiply_matrices(edge=16)
    monkeypatch.setattr(rounds, 'multiply_matrices', lambda device: product)

    def sections(*asked):
        assert asked == ([OURS], {}, 'cpu', 1, 'folder')
        return [rounds.Section(whole.DETECTION, [fake(OURS)], 'eager', False)]

    monkeypatch.setattr(whole, 'list_whole_sections', sections)
    out = tmp_path / 'out'
    suite.measure_whole_models(
        repo=REPO,
        names=[OURS],
        trained={},
        settings=rounds.Settings(1, 0, True, False),
        out=out,
        command='a command',
        page=page,
        device='cpu',
        threads=1,
        folder='folder',
    )
    assert (out / 'whole_models.png').read_bytes().startswith(b'\x89PNG')
    tables = (out / 'whole_models.md').read_text()
    picture = '![Published accuracy against latency](out/whole_models.png)'
    marked = f'{whole.BEGIN}\n\n{picture}\n\n{tables}\n{whole.END}'
    assert page.read_text() == f'before\n{marked}\nafter\n'
    record = report.read_json(out / 'whole_models.json')
    assert record['missing'] == {} and record['rows'][0].model == OURS
    assert whole.to_markdown(record, published) == tables


def test_what_a_peer_gives_by_hand():
    logits = np.full((1, 2, 3), -9, np.float32)
    logits[0, 0, 2], logits[0, 1, 0] = 1, 9
    outputs = {
        'logits': logits,
        'pred_boxes': np.float32([[[0.5, 0.5, 1, 1], [0.25, 0.5, 0.5, 0.2]]]),
        'pred_masks': np.float32([[[[1, -1]], [[-1, 1]]]]),
    }
    found = peer_detectors.finish(outputs, (10, 20))
    assert found['labels'][:2].tolist() == [0, 2]
    assert found['scores'][:2] == pytest.approx([0.9998766, 0.7310586])
    assert found['boxes'][:2] == pytest.approx(
        np.float32([[0, 4, 10, 6], [0, 0, 20, 10]])
    )
    assert found['masks'].shape == (6, 10, 20)
    assert found['masks'][0].all(axis=0).tolist() == [False] * 10 + [True] * 10
    assert found['masks'][1].all(axis=0).tolist() == [True] * 10 + [False] * 10
