"""Latency: turns, statistics, what is compared with what, and tables of it all."""

import json
import sys
from dataclasses import dataclass, replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import yaml
from conftest import REPO
from mmengine.registry import DefaultScope
from tiny_models import write_checkpoint, write_config
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmrapidnet.analysis.complexity import Complexity, count_parameters
from mmrapidnet.analysis.figures import read_published
from mmrapidnet.benchmark import (
    latency,
    peers,
    plots,
    report,
    rounds,
    runtimes,
    suite,
)
from mmrapidnet.benchmark.contestants import Contestant, list_classifiers
from mmrapidnet.benchmark.dense_contestants import (
    ConfiguredModel,
    draw_example,
    list_dense,
)
from mmrapidnet.benchmark.memory import measure_peak
from mmrapidnet.benchmark.runtimes import RUNTIMES, find_runtime
from mmrapidnet.benchmark.train_contestants import draw_batch, list_training
from mmrapidnet.engine.config import load_config
from mmrapidnet.errors import UserError

HERE = ('cpu', 1, 'nowhere')


class Clock:
    """A clock that only calls move, and a log of what happened."""

    def __init__(self):
        self.now, self.log = 0.0, []

    def read(self):
        return self.now

    def call(self, name, *seconds):
        """A call that takes as long as is said for each, the last for all later."""
        durations = list(seconds)

        def call():
            self.log.append(name)
            self.now += durations.pop(0) if len(durations) > 1 else durations[0]

        return call

    def settle(self):
        self.log.append('settle')
        return True


@dataclass(frozen=True)
class Fake(Contestant):
    """A contestant whose call takes no time and gives a number."""

    task = 'fake'

    def _open(self):
        return lambda: 7

    def complexity(self):
        return Complexity(1_500_000, 2_000_000_000)

    def describe(self, result):
        return {'result': result}


def fake(model='a', runtime='eager', size=(8, 8), batch=1):
    return Fake(model, RUNTIMES[runtime], size, batch, *HERE)


@pytest.fixture
def row():
    """One second, a tenth of them less than 0.8; a baseline that takes three."""
    return rounds.make_row(
        'A table',
        fake(runtime='fused', batch=4),
        latency.Timing((0.5, 1.0, 2.0)),
        baseline='a/eager',
        baseline_seconds=3.0,
        cost=Complexity(1_500_000, 2_000_000_000),
        peak=32e9,
        memory=12_345_678,
        found={'detections': 3},
    )


@pytest.fixture
def record(row):
    settings = dict(rounds=3, warm_up=1, trial=True, int8_calibration='on noise')
    machine = dict(name='A Machine', system='An OS', device='cpu')
    versions = dict(torch='2.0', ncnn='1.0', rich='9')
    return dict(
        command='a command',
        machine=machine,
        versions=versions,
        settings=settings,
        rows=[row],
    )


def test_percentiles_by_hand():
    timing = latency.Timing((0.3, 0.1, 0.4, 0.2))
    # Between the third and the fourth, the first and the second, ... of them sorted.
    assert timing.median == pytest.approx(0.25)
    assert timing.p10 == pytest.approx(0.13)
    assert timing.p90 == pytest.approx(0.37)


def test_contestants_take_turns():
    clock = Clock()
    calls = dict(short=clock.call('short', 0.25), long=clock.call('long', 0.75))
    measured = latency.interleave(calls, 2, 1, clock.settle, clock.read)
    one_round = ['settle', 'short', 'short', 'settle', 'long']
    assert clock.log == ['short', 'long', *one_round, *one_round]
    assert measured.timings['short'].seconds == (0.25, 0.25)
    assert measured.timings['long'].seconds == (0.75, 0.75)
    assert measured.unsettled == 0


def test_only_every_second_call_of_a_turn_is_timed():
    clock = Clock()
    # Two to warm up, then one not timed, one timed, ...
    call = clock.call('a', 9.0, 0.1, 0.2, 0.3, 0.2, 0.4)
    measured = latency.interleave({'a': call}, 2, 2, clock.settle, clock.read)
    assert measured.timings['a'].seconds == pytest.approx((0.3, 0.4))


def test_turns_that_begin_with_others_at_work_are_counted():
    states = iter([True, False, False, True])
    calls = dict(a=lambda: None, b=lambda: None)
    measured = latency.interleave(calls, 2, 0, lambda: next(states))
    assert measured.unsettled == 2


@pytest.mark.parametrize(
    ('busy_for', 'settles', 'waited'),
    [(0, True, 0.01), (3, True, 0.04), (99, False, 0.5)],
)
def test_settling_down(monkeypatch, busy_for, settles, waited):
    """Threads that use a core for some steps of 10 ms, as idle pools do."""
    now, used, steps = [0.0], [0.0], [0]

    def sleep(seconds):
        now[0] += seconds
        used[0] += seconds if steps[0] < busy_for else 0
        steps[0] += 1

    clock = dict(perf_counter=lambda: now[0], process_time=lambda: used[0], sleep=sleep)
    monkeypatch.setattr(latency, 'time', SimpleNamespace(**clock))
    assert latency.settle_down() is settles
    assert now[0] == pytest.approx(waited, abs=0.011)


def test_matrix_product():
    multiply, macs = latency.multiply_matrices(edge=16)
    assert macs == 4096
    assert multiply() is None


def test_row_by_hand(row):
    assert row.median_ms == 1000
    assert (row.p10_ms, row.p90_ms) == pytest.approx((600, 1800))
    assert row.images_per_second == 4
    assert row.ratio == 3
    assert row.peak_share == 4 * 2 / 32
    assert row.matmul_gmacs_per_second == 32


def test_cells_and_page(row, record, tmp_path):
    cells = report.make_cells(row)
    assert len(cells) == len(report.COLUMNS)
    assert cells == (
        *('a', 'fused', '8x8', '4', '1000', '600.0', '1800', '3.00', '4.000', '12'),
        *('1.500', '2.000', '25'),
    )
    uncounted = replace(row, macs=None, peak_share=None, memory=None)
    assert report.make_cells(uncounted)[-4:] == ('', '1.500', '', '')

    tables = report.to_markdown(record)
    assert '**A table; ratio: times faster than eager**' in tables
    assert f'| {" | ".join(cells)} |' in tables
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
def test_what_a_ratio_is_to(row, record, model, runtime, baseline, head):
    record['rows'] = [replace(row, model=model, runtime=runtime, baseline=baseline)]
    assert f'ratio: times faster than {head}**' in report.to_markdown(record)


def test_json_holds_every_call(record, row, tmp_path):
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


def test_baselines():
    eager, fused = fake(), fake(runtime='fused')
    peer, other_size = fake('b', 'fused'), fake(size=(9, 9))
    all_ = [other_size, eager, fused, peer, fake('b')]
    for baseline, expected in (
        ('eager', eager),
        ('b', peer),
        ('a/eager', eager),
        ('a/fused', fused),
    ):
        assert rounds.find_baseline(fused, all_, baseline) is expected
    with pytest.raises(UserError, match='--baseline c: a/eager has nothing of that na'):
        rounds.find_baseline(other_size, all_, 'c')
    with pytest.raises(UserError, match='--baseline fused: a/eager .* beside it'):
        rounds.find_baseline(other_size, all_, 'fused')


def test_run_measures_groups_and_saves_each(monkeypatch):
    product = latency.multiply_matrices(edge=16)
    monkeypatch.setattr(rounds, 'multiply_matrices', lambda device: product)
    group = [fake(), fake(runtime='fused'), fake('b')]
    section = rounds.Section('One', [*group, fake(batch=2)], 'eager')
    saved = []
    settings = rounds.Settings(rounds=2, warm_up=1, trial=True, memory=False)
    record = rounds.run(
        [section], settings, 'a command', lambda r: saved.append(len(r['rows']))
    )
    assert saved == [3, 4]
    assert [(r.model, r.runtime, r.batch, r.baseline) for r in record['rows']] == [
        ('a', 'eager', 1, 'a/eager'),
        ('a', 'fused', 1, 'a/eager'),
        ('b', 'eager', 1, 'b/eager'),
        ('a', 'eager', 2, 'a/eager'),
    ]
    for row in record['rows']:
        assert len(row.seconds) == 2
        assert row.found == {'result': 7}
        assert row.memory is None
        assert row.params == 1_500_000
        assert row.ratio * row.median_ms == pytest.approx(
            next(
                other.median_ms
                for other in record['rows']
                if f'{other.model}/{other.runtime}' == row.baseline
                and other.batch == row.batch
            )
        )
    assert record['machine']['threads'] == 1
    assert record['versions']['torch'] == torch.__version__
    assert record['settings']['rounds'] == 2


def test_too_few_rounds():
    with pytest.raises(UserError, match='--rounds 29: a measurement has at least 30'):
        rounds.Settings(rounds=29).check()
    with pytest.raises(UserError, match='--rounds 0'):
        rounds.Settings(rounds=0, trial=True).check()
    with pytest.raises(UserError, match='--warm-up -1'):
        rounds.Settings(warm_up=-1).check()
    rounds.Settings(rounds=30, warm_up=0).check()


class Hold:
    """Keeps 40 MB while it is open, and 80 MB more during a call."""

    def __init__(self):
        self.kept = np.ones(5_000_000)

    def __call__(self):
        return np.ones(10_000_000).sum() + self.kept[0]


@pytest.mark.skipif(sys.platform != 'linux', reason='read from /proc')
def test_peak_memory():
    assert 119e6 < measure_peak(Hold) < 135e6


# Models and runtimes


class Odd(nn.Module):
    """Pairs of convolution and normalisation that no Sequential tells."""

    def __init__(self, leak: bool):
        super().__init__()
        from timm.layers import BatchNormAct2d

        self.leak = leak
        self.norm = BatchNormAct2d(6)
        self.other = nn.BatchNorm2d(6)
        self.first = nn.Conv2d(3, 6, 3, bias=False)
        self.second = nn.Conv2d(6, 6, 3, groups=6)

    def forward(self, x):
        x = self.first(x)
        y = self.norm(x)
        if self.leak:
            return y + x
        # The last one normalises a sum, which is no convolution's output.
        return self.other(self.second(y) + 1)


def test_pairs_are_found_by_running():
    model = peers.randomize_norms(Odd(leak=False)).double().eval()
    image = torch.randn(2, 3, 9, 11, dtype=torch.float64)
    fused = peers.fuse_model(model, image)
    assert isinstance(fused.norm, nn.ReLU)
    assert isinstance(fused.other, nn.BatchNorm2d)
    torch.testing.assert_close(fused(image), model(image), rtol=1e-9, atol=1e-9)
    assert isinstance(model.norm, nn.BatchNorm2d)


def test_what_cannot_be_fused_is_not():
    model = peers.randomize_norms(Odd(leak=True)).eval()
    with pytest.raises(UserError, match='Odd cannot be fused: the outputs differ by'):
        peers.fuse_model(model, torch.randn(1, 3, 9, 9))


@pytest.mark.parametrize(
    ('name', 'params'),
    [
        ('mobilenetv2_x1_4', 6_108_776),
        ('timm:repvit_m0_9', 5_489_328),
        ('mmpretrain:resnet18_8xb32_in1k', 11_689_512),
    ],
)
def test_peers(name, params):
    model = peers.build_model(name)
    assert not model.training
    assert sum(p.numel() for p in model.parameters()) == params
    image = torch.randn(1, 3, 32, 32)
    fused = peers.fuse_model(model, image)
    assert not any(isinstance(module, _BatchNorm) for module in fused.modules())
    expected = model(image)
    assert (fused(image) - expected).abs().max() < 1e-4 * expected.abs().max()


@pytest.mark.parametrize(
    ('name', 'message'),
    [
        ('rapidnet_xl', "unknown model 'rapidnet_xl': choose one of rapidnet_ti, "),
        ('timm:fastvit_t9', "no model 'fastvit_t9': did you mean .*fastvit_t8"),
        ('mmpretrain:nonsense', "mmpretrain has no model 'nonsense'"),
    ],
)
def test_unknown_models(name, message):
    with pytest.raises(UserError, match=message):
        peers.build_model(name)


def test_runtimes():
    assert find_runtime('eager').name == 'eager'
    compiled = RUNTIMES['compile']
    assert compiled.fused and compiled.channels_last and compiled.compiled
    assert RUNTIMES['openvino-int8'].precision == 'int8'
    assert {r.format for r in RUNTIMES.values()} == {None, 'onnx', 'openvino', 'ncnn'}


def test_runtimes_that_are_not_here(monkeypatch, capsys):
    monkeypatch.setattr(runtimes, 'has_bf16', lambda device: False)
    monkeypatch.setitem(sys.modules, 'onnxruntime', None)
    monkeypatch.delitem(sys.modules, 'mmrapidnet.deploy.formats.onnx', raising=False)
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    monkeypatch.setenv('CXX', 'no-such-compiler')
    monkeypatch.setattr(runtimes.shutil, 'which', lambda name: None)
    for name, message in (
        ('tensorrt', "unknown runtime 'tensorrt': choose some of eager, "),
        ('fused-bf16', 'needs bf16 instructions'),
        ('eager-fp16', 'eager-fp16 needs a GPU'),
        ('compile', 'needs a C\\+\\+ compiler'),
        ('onnxruntime', 'needs onnxruntime, which is not .*"mmrapidnet\\[onnx\\]"'),
    ):
        with pytest.raises(UserError, match=message):
            find_runtime(name)
    with pytest.raises(UserError, match='openvino runs on the CPU here'):
        find_runtime('openvino', 'cuda')
    with pytest.raises(UserError, match='--device cuda: PyTorch sees no CUDA GPU'):
        runtimes.check_device('cuda')
    assert runtimes.available_runtimes(['eager', 'compile', 'fused']) == [
        'eager',
        'fused',
    ]
    assert 'left out: compile needs' in capsys.readouterr().out


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (dict(models=('repvit_m0_6',) * 2), '--models .*: give each once'),
        (dict(runtimes=('fused', 'fused')), '--runtimes .*: give each once'),
        (dict(sizes=(0,)), '--sizes 0: give at least 1'),
        (dict(batches=(1, -1)), '--batches -1: give at least 1'),
        (dict(threads=0), '--threads 0: give at least 1'),
        (dict(runtimes=('swift',)), "unknown runtime 'swift'"),
    ],
)
def test_wrong_requests(changes, message):
    request = dict(
        models=('repvit_m0_6',), runtimes=('eager',), sizes=(32,), batches=(1,)
    )
    request |= dict(device='cpu', threads=1, folder='nowhere', **{})
    with pytest.raises(UserError, match=message):
        list_classifiers(**{**request, **changes})


def test_classifiers_compute_the_same_in_every_runtime(tmp_path):
    names = ('eager', 'channels_last', 'fused-channels_last', 'onnxruntime')
    contestants = list_classifiers(
        ('repvit_m0_6',), names, (32,), (2,), 'cpu', 1, str(tmp_path)
    )
    assert [contestant.runtime.name for contestant in contestants] == [*names]
    expected, *others = (torch.as_tensor(c.open()()) for c in contestants)
    assert expected.shape == (2, 1000)
    for logits in others:
        assert (logits - expected).abs().max() < 1e-4 * expected.abs().max()
    assert [path.name for path in tmp_path.iterdir()] == ['repvit_m0_6_fp32_32x32.onnx']


# Whole models


@pytest.fixture(scope='module')
def tiny(tmp_path_factory):
    """Small models with weights, and a picture."""
    folder = tmp_path_factory.mktemp('tiny')
    sources = {}
    for kind in ('detector', 'segmenter'):
        config = write_config(kind, folder)
        checkpoint = folder / f'{kind}.pth'
        write_checkpoint(load_config(str(config)), checkpoint)
        sources[kind] = ConfiguredModel(str(config), str(checkpoint), resize=(96, 128))
    return sources, draw_example(folder, (120, 160))


def infer_by_library(source, image):
    """What mmdet's or mmseg's own function gives, and the model's parameters."""
    from mmdet.apis import inference_detector
    from mmseg.apis import inference_model

    cfg, model = source.read(), source.build()
    model.cfg = cfg
    cfg.test_pipeline = cfg.test_dataloader.dataset.pipeline
    infer = inference_detector if cfg.default_scope == 'mmdet' else inference_model
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        return infer(model, str(image)), count_parameters(model)


def test_segments_as_the_library_does(tiny):
    sources, image = tiny
    eager, fused = list_dense(sources['segmenter'], ('eager', 'fused'), image, *HERE)
    assert eager.group == ('image file to result', (96, 128), 1)
    expected, params = infer_by_library(sources['segmenter'], image)
    found, again = eager.open()(), fused.open()()
    assert found.pred_sem_seg.data.shape == (1, 120, 160)
    assert torch.equal(found.pred_sem_seg.data, expected.pred_sem_seg.data)
    same = again.pred_sem_seg.data == expected.pred_sem_seg.data
    assert same.float().mean() > 0.99
    assert eager.describe(found) == {}
    cost = eager.complexity()
    assert cost.params == params
    assert cost.macs > 0


def test_detects_as_the_library_does(tiny):
    sources, image = tiny
    (eager,) = list_dense(sources['detector'], ('eager',), image, *HERE)
    expected, params = infer_by_library(sources['detector'], image)
    result = eager.open()()
    found, expected = result.pred_instances, expected.pred_instances
    assert len(expected) > 0
    assert torch.equal(found.bboxes, expected.bboxes)
    assert torch.equal(found.masks, expected.masks)
    assert found.masks.shape[1:] == (120, 160)
    assert eager.describe(result) == {'detections': len(expected)}
    assert eager.complexity() == Complexity(params, None)


def test_size_is_what_the_network_sees(tmp_path):
    """The usual picture of COCO, padded to multiples of 32."""
    source = ConfiguredModel('configs/maskrcnn_rapidnet_s_coco.py')
    image = draw_example(tmp_path, (427, 640))
    (contestant,) = list_dense(source, ('eager',), image, *HERE)
    assert contestant.size == (800, 1216)
    assert contestant.name == 'maskrcnn_rapidnet_s_coco/eager'


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (dict(image='no.png'), 'there is no image no.png'),
        (dict(image=__file__), 'is not an image that can be read'),
        (dict(config='configs/rapidnet_ti_in1k.py'), 'give the config of a detector'),
        (dict(config='none.py'), 'there is no config none.py'),
        (dict(checkpoint='none.pth'), 'none.pth'),
    ],
)
def test_wrong_requests_for_whole_models(tiny, changes, message):
    sources, image = tiny
    request = dict(config=sources['segmenter'].config, checkpoint=None, image=image)
    request |= changes
    source = ConfiguredModel(request['config'], request['checkpoint'])
    with pytest.raises(UserError, match=message):
        list_dense(source, ('eager',), request['image'], *HERE)


def test_training_steps_learn(tiny):
    sources, _ = tiny
    names = ('eager', 'channels_last')
    contestants = list_training(sources['segmenter'], names, (64, 96), 2, *HERE)
    firsts = []
    for contestant in contestants:
        assert contestant.group == ('training step', (64, 96), 2)
        step = contestant.open()
        losses = [contestant.describe(step())['loss'] for _ in range(4)]
        assert losses[-1] < losses[0]
        firsts.append(losses[0])
    assert firsts[0] == pytest.approx(firsts[1], rel=1e-4)


def test_training_step_of_a_detector(tiny):
    sources, _ = tiny
    (contestant,) = list_training(sources['detector'], ('eager',), (64, 96), 2, *HERE)
    result = contestant.open()()
    assert {'loss_rpn_cls', 'loss_cls', 'loss_bbox', 'loss_mask'} < set(result)
    assert 0 < result['loss_mask'] < 10


def test_ground_truth_is_drawn(tiny):
    sources, _ = tiny
    images, samples = draw_batch(sources['detector'].read(), (64, 96), 3)
    assert all(image.shape == (3, 64, 96) for image in images)
    assert sum(len(sample.gt_instances) for sample in samples) > 0
    for sample in samples:
        truth = sample.gt_instances
        for box, mask in zip(truth.bboxes.tolist(), truth.masks.masks):
            rows, columns = np.nonzero(mask)
            extent = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
            assert tuple(box) == extent
    images, samples = draw_batch(sources['segmenter'].read(), (64, 96), 1)
    labels = samples[0].gt_sem_seg.data
    assert labels.shape == (1, 64, 96)
    assert set(labels.unique().tolist()) <= {0, 1, 2, 3, 4, 5, 6, 255}
    assert {0, 255} < set(labels.unique().tolist())


def test_what_cannot_train(tiny):
    sources, _ = tiny
    for runtime in ('fused', 'openvino'):
        with pytest.raises(UserError, match=f'{runtime} is for evaluation only'):
            list_training(sources['segmenter'], (runtime,), None, 1, *HERE)


def test_shapes_of_training_images(tiny):
    sources, _ = tiny
    for kind, size in (('detector', (800, 1216)), ('segmenter', (512, 512))):
        (contestant,) = list_training(sources[kind], ('eager',), None, 1, *HERE)
        assert contestant.size == size


# The figure and the README's suite


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
        'fastvit_t8_in1k': [
            dict(setting='alone', figures={top1: 75.6}, source='another')
        ],
    }
    path = tmp_path / 'published.yml'
    path.write_text(yaml.safe_dump(dict(families={'RapidNet': family}, models=models)))
    return read_published(path)


@pytest.fixture
def measured(row, record):
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
        ('fastvit', 'T8', 75.6, 1.5, None),
    ]
    assert out.stat().st_size > 5000
    (caption,) = captions
    assert 'RapidNet Ti: a paper; fastvit T8: another, alone.' in caption
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
def test_tables_of_the_readme(device, monkeypatch):
    """Every contestant has a baseline, and those of a group stand together."""
    monkeypatch.setattr(peers, 'build_model', lambda name: None)
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(torch.cuda, 'is_bf16_supported', lambda: True)
    published = read_published('configs/published.yml')
    sections = suite.list_classifier_sections(published, device, 2, 'nowhere')
    for section in sections:
        groups = [contestant.group for contestant in section.contestants]
        assert sorted(groups, key=groups.index) == groups
        for contestant in section.contestants:
            rounds.find_baseline(contestant, section.contestants, section.baseline)
    first, peers_, *_ = sections
    assert {c.size for c in first.contestants} == {(224, 224), (512, 512)}
    assert {c.model for c in first.contestants} == {'rapidnet_ti'}
    asked = {'repvit_m0_9', 'mobilevig_ti', 'mobilenetv2_x1_4', 'timm:fastvit_t8'}
    assert asked < {c.model for c in peers_.contestants}
    assert peers_.baseline == 'rapidnet_ti'
    drawn = {c.model for c in sections[-1].contestants}
    assert {'rapidnet_ti', 'repvit_m2_3', 'mobilevig_b'} < drawn
    assert 'rapidnet_s' not in drawn


def test_readme_in_one_command(tmp_path, monkeypatch):
    """What is measured is replaced, what is done with it is not."""
    page = tmp_path / 'README.md'
    marks = report._BEGIN, report._END
    page.write_text('before\n{}\nold\n{}\nafter\n'.format(*marks))
    given, drawn = [], []

    def whole(source, runtimes_, image, *where):
        given.append((source.name, source.checkpoint, source.resize, source.shapes))
        assert image.is_file()
        return [fake(f'{source.name}_whole')]

    def training(source, runtimes_, size, batch, *where):
        given.append((source.name, source.checkpoint, size, batch))
        return [fake(f'{source.name}_step')]

    section = rounds.Section('Classifiers', [fake('some')], 'eager')
    for name, replacement in (
        ('list_dense', whole),
        ('list_training', training),
        ('list_classifier_sections', lambda *a: [section]),
        ('available_runtimes', lambda names, device: list(names)),
    ):
        monkeypatch.setattr(suite, name, replacement)
    monkeypatch.setattr(plots, 'draw', lambda *a: drawn.append(a[-1]))
    product = latency.multiply_matrices(edge=16)
    monkeypatch.setattr(rounds, 'multiply_matrices', lambda device: product)
    out = tmp_path / 'out'
    suite.measure_for_readme(
        repo=REPO,
        settings=rounds.Settings(2, 0, True, False),
        out=out,
        command='a command',
        page=page,
        weights={'semfpn_rapidnet_s_ade20k': 'w.pth'},
        shapes='data/shapes',
        device='cpu',
        threads=1,
        folder=str(tmp_path),
    )
    detector, segmenter = 'maskrcnn_rapidnet_s_coco', 'semfpn_rapidnet_s_ade20k'
    assert given == [
        (detector, None, (800, 1216), 'data/shapes'),
        (segmenter, 'w.pth', (512, 683), 'data/shapes'),
        (detector, None, (800, 1216), 1),
        (segmenter, None, (512, 512), 4),
    ]
    assert drawn == [out / 'benchmark.png']
    rows = report.read_json(out / 'benchmark.json')['rows']
    assert [row.section for row in rows] == [
        'Classifiers',
        'Mask R-CNN RapidNet-S, from an image file to the result',
        'Semantic FPN RapidNet-S, from an image file to the result',
        'Mask R-CNN RapidNet-S, a training step',
        'Semantic FPN RapidNet-S, a training step',
    ]
    tables = (out / 'benchmark.md').read_text()
    assert page.read_text() == f'before\n{marks[0]}\n\n{tables}\n{marks[1]}\nafter\n'


def test_weights_of_the_readme():
    with pytest.raises(UserError, match='--checkpoint x=y: write CONFIG=FILE, where'):
        suite.read_weights(['x=y'])
    with pytest.raises(UserError, match='write CONFIG=FILE'):
        suite.read_weights(['semfpn_rapidnet_s_ade20k'])
