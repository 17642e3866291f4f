"""Which precision an export keeps: on made-up latencies and metrics, and for real."""

import re
from pathlib import Path

import pytest
from helpers.exported_files import convert_once
from helpers.tiny_models import TWO_BLOCKS, load, write_checkpoint

from mmrapidnet.apis import auto_precision
from mmrapidnet.apis import export as exporting
from mmrapidnet.apis.auto_precision import choose, rank
from mmrapidnet.apis.benchmark import Benchmark, Row
from mmrapidnet.apis.latency import Timing
from mmrapidnet.deploy import formats
from mmrapidnet.deploy.export import Report
from mmrapidnet.deploy.inference import ExportedModel
from mmrapidnet.deploy.isolated import FileError
from mmrapidnet.utils.errors import UserError

SECONDS = {'fp32': 0.030, 'fp16': 0.0295, 'bf16': 0.016, 'int8': 0.012}
POINTS = {
    'weights.pth': {'box AP': 50.0, 'mask AP': 40.0},
    'fp32': {'box AP': 50.0, 'mask AP': 40.0},
    'fp16': {'box AP': 50.0, 'mask AP': 40.0},
    'bf16': {'box AP': 49.8, 'mask AP': 40.2},
    'int8': {'box AP': 50.9, 'mask AP': 39.4},
}


def test_the_fastest_comes_first_and_the_more_exact_of_equals():
    assert list(rank(SECONDS)) == ['int8', 'bf16', 'fp32', 'fp16']
    assert list(rank({'fp32': 1.04, 'fp16': 1.0})) == ['fp16', 'fp32']


@pytest.mark.parametrize(
    ('max_drop', 'kept', 'tested'),
    [
        (0.7, 'int8', ['int8']),
        # A gain in one metric does not make up for a loss in another.
        (0.5, 'bf16', ['int8', 'bf16']),
        (0.1, 'fp32', ['int8', 'bf16', 'fp32']),
        (-0.1, None, ['int8', 'bf16', 'fp32', 'fp16']),
    ],
)
def test_no_more_is_tested_than_need_be(max_drop, kept, tested):
    choice = choose(SECONDS, POINTS.get, POINTS['weights.pth'], max_drop)
    assert (choice.kept, list(choice.points)) == (kept, tested)
    assert choice.drops['int8'] == pytest.approx(0.6)


@pytest.fixture
def made_up(monkeypatch, tmp_path):
    """Exports, tests and measures nothing; what a precision lacks is an error."""
    seconds, points, asked = dict(SECONDS), dict(POINTS), []
    dies = {'timed': [], 'tested': []}

    def run_file(path, when):
        path = Path(path)
        if path.parent.name in dies[when]:
            raise FileError(path, f'{path} cannot be run: its process died of SIGSEGV')

    def export(cfg, checkpoint, format, out, precision, **arguments):
        asked.append((precision, {k: v for k, v in arguments.items() if v}))
        if precision not in seconds:
            raise UserError(f'{out} was not written: its logits would differ')
        out.parent.mkdir(parents=True)
        for path in (out, out.with_suffix('.bin')):
            path.write_text(precision)
        return Report(out, (64, 96), {'precision': precision}, [])

    def measure(cfg, checkpoint, exported, settings):
        assert settings.size == (64, 96)
        names = {path: path.split('/')[-2] for path in exported}
        for path in exported:
            run_file(path, 'timed')
        times = {'PyTorch': 0.06, **{p: seconds[name] for p, name in names.items()}}
        rows = [
            Row(name, '', Timing((took,)), 0.06 / took, None)
            for name, took in times.items()
        ]
        return Benchmark('detector', settings.size, rows, 0)

    def measure_points(cfg, path, images):
        run_file(path, 'tested')
        return points[path if path == 'weights.pth' else path.split('/')[-2]]

    monkeypatch.setattr(auto_precision, 'export_precision', export)
    for function in (measure, measure_points):
        monkeypatch.setattr(auto_precision, function.__name__, function)
    monkeypatch.setattr(formats, 'has_bf16', lambda: True)
    cfg = load('detector', tmp_path, tmp_path)

    def run(**arguments):
        out = tmp_path / 'out' / 'model.xml'
        asked_for = dict(format='openvino', precision='auto', out=out, **arguments)
        return exporting.export(cfg, 'weights.pth', **asked_for)

    run.seconds, run.points, run.asked, run.out = (
        seconds,
        points,
        asked,
        tmp_path / 'out',
    )
    run.dies = dies
    return run


def test_what_is_kept_and_told(made_up, capsys):
    report = made_up(calibration_images=7, size=(64, 96))
    assert report.path == made_up.out / 'model.xml'
    assert report.metadata == {'precision': 'bf16'}
    written = {path.name: path.read_text() for path in made_up.out.iterdir()}
    assert written == {'model.xml': 'bf16', 'model.bin': 'bf16'}
    # Only int8 is calibrated.
    asked = {'size': (64, 96), 'measured': True}
    assert made_up.asked == [
        *((name, asked) for name in ('fp32', 'fp16', 'bf16')),
        ('int8', {**asked, 'calibration_images': 7}),
    ]
    printed = [re.findall(r'[\w.,]+', s) for s in capsys.readouterr().out.splitlines()]
    assert ['PyTorch', '60.00', '1.00', '50.00', '40.00'] in printed
    assert ['fp32', '30.00', '2.00', 'slower'] in printed
    assert ['bf16', '16.00', '3.75', '49.80', '40.20', 'kept'] in printed
    assert ['int8', '12.00', '5.00', '50.90', '39.40', 'loses', '0.60'] in printed


def test_a_precision_that_cannot_be_written_is_left_out(made_up, capsys):
    del made_up.seconds['int8']
    assert made_up().metadata == {'precision': 'bf16'}
    printed = capsys.readouterr().out
    assert 'left out: int8: model.xml was not written: its logits would' in printed
    del made_up.seconds['fp32']
    with pytest.raises(UserError, match='was not written: its logits'):
        made_up()


def test_files_that_end_their_process_are_left_out(made_up, capsys):
    made_up.dies.update(timed=['int8'], tested=['bf16'])
    assert made_up().metadata == {'precision': 'fp32'}
    printed = capsys.readouterr().out
    for name in ('int8', 'bf16'):
        assert f'left out: {name}: model.xml cannot be run: its process died' in printed
    cells = [re.findall(r'[\w.,]+', line) for line in printed.splitlines()]
    assert ['int8', 'left', 'out'] in cells
    assert ['bf16', '16.00', '3.75', 'left', 'out'] in cells
    assert ['fp32', '30.00', '2.00', '50.00', '40.00', 'kept'] in cells


def test_no_file_can_be_run(made_up):
    made_up.dies.update(timed=list(SECONDS))
    with pytest.raises(UserError, match='was not written: no precision keeps the'):
        made_up()


def test_no_precision_keeps_the_metric(made_up):
    made_up.points['weights.pth'] = {'box AP': 60.0, 'mask AP': 40.0}
    with pytest.raises(UserError, match='no precision keeps the metric within 0.5 poi'):
        made_up()
    assert not made_up.out.exists() or not list(made_up.out.iterdir())


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (dict(part='dense'), '--part dense has not: choose a precision'),
        (dict(max_drop=-1.0), '--max-drop -1.0: give 0 or more points'),
    ],
)
def test_requests_that_make_no_sense(arguments, message, made_up):
    with pytest.raises(UserError, match=message):
        made_up(**arguments)


def test_options_of_other_precisions():
    asked = (None, 'weights.pth', 'openvino', 'model.xml')
    with pytest.raises(UserError, match='--max-drop is for .* and auto, not for bf16'):
        exporting.export(*asked, precision='bf16', max_drop=0.5)
    with pytest.raises(UserError, match='--metric-images is for --precision auto and'):
        exporting.export(*asked, precision='int8', metric_images=9)


@pytest.mark.slow
def test_a_segmenter(shapes_root, tmp_path, monkeypatch, capsys):
    """Three files are written and timed; the one kept is tested, and can be run."""
    monkeypatch.setattr(formats, 'has_bf16', lambda: False)
    monkeypatch.setattr(auto_precision, 'ROUNDS', 2)
    monkeypatch.setattr(auto_precision, 'WARM_UP', 1)
    convert_once(monkeypatch)
    cfg = load('segmenter', tmp_path, shapes_root / 'ade', TWO_BLOCKS)
    checkpoint = str(write_checkpoint(cfg, tmp_path / 'weights.pth'))
    out = tmp_path / 'out' / 'model.xml'
    report = exporting.export(
        cfg,
        checkpoint,
        'openvino',
        out,
        precision='auto',
        max_drop=100.0,
        metric_images=2,
        calibration_images=2,
    )
    assert {path.name for path in out.parent.iterdir()} == {'model.xml', 'model.bin'}
    kept = ExportedModel(out, threads=1).metadata['precision']
    assert report.metadata['precision'] == kept
    printed = capsys.readouterr().out
    assert len(re.findall(rf'│ {kept} .* kept', printed)) == 1
    assert 'The metric is of 2 images of the test set' in printed
