"""What a teacher is worth: made-up runs, and real ones."""

import json
import math
import os
import re
from pathlib import Path

import pytest
import torch
from helpers.commands import REPO, assert_one_line_error
from helpers.made_up_runs import make_run
from helpers.tables import read_rows
from helpers.tool_server import fork_tool

from dev.comparison import runs
from dev.comparison.data_sets import write_scenes
from dev.comparison.training import Place, compare_distillation
from mmrapidnet.datasets.shapes import CLS_CLASSES, write_shapes_cls
from mmrapidnet.utils.errors import UserError

TAUGHT = [70.0, 74.0, 72.0, 71.0, 73.0]
LENGTHS = {'rapidnet_ti_shapescls.py': 1200, 'rapidnet_slim_shapescls.py': 600}
ALONE = [60.0, 66.0, 63.0, 60.0, 66.0]


def top1(value: float) -> dict[str, float]:
    return {'accuracy/top1': value, 'accuracy/top5': 99.0}


@pytest.fixture(scope='module')
def cls_root(tmp_path_factory):
    """Two images per class to train on and one held out."""
    root = tmp_path_factory.mktemp('data') / 'shapes_cls'
    write_shapes_cls(root, splits={'train': 24, 'val': 12})
    return root


@pytest.fixture
def place(cls_root, shapes_root, tmp_path):
    return Place(REPO, cls_root, shapes_root, tmp_path / 'out')


@pytest.fixture
def calls(monkeypatch):
    """The tools do nothing but leave a run; what they were called with."""
    made = []

    def pretend(tool, arguments, log):
        config, *arguments = map(str, arguments)
        made.append((tool.name, config, arguments))
        if tool.name != 'train.py':
            return
        figure = 40.0 + len(made) % 3
        length = LENGTHS[Path(config).name]
        make_run(log.with_name(log.name.removesuffix('.log')), top1(figure), length)

    monkeypatch.setattr(runs, 'run_tool', pretend)
    return made


def trained(calls) -> list[tuple[str, list[str]]]:
    return [
        (config, arguments) for tool, config, arguments in calls if tool == 'train.py'
    ]


def make_students(out, taught, alone, iters=600):
    """A complete comparison of a teacher with 97.5 %."""
    make_run(out / 'classifier', top1(97.5), 1200)
    for seed, both in enumerate(zip(taught, alone)):
        for name, value in zip(('taught', 'alone'), both):
            folder = out / f'student_noise50_{name}_seed{seed}'
            make_run(folder, top1(value), iters)


def test_table_of_finished_runs(place, no_tools, capsys):
    make_students(place.out_dir, TAUGHT, ALONE)
    gain = compare_distillation(place, command='the command')
    assert gain.difference.values == [10.0, 8.0, 9.0, 11.0, 7.0]

    page = (place.out_dir / 'distillation_noise50.md').read_text()
    assert page.startswith(
        'Top-1, %, of a student, 50 % wrong labels, 600 iterations. Measured on '
    )
    assert 'the command' in page and torch.__version__ in page
    assert 'reaches 97.50 %' in page
    assert read_rows(page) == [
        ('seed', 'with a teacher', 'without', 'difference'),
        ('0', '70.00', '60.00', '+10.00'),
        ('1', '74.00', '66.00', '+8.00'),
        ('2', '72.00', '63.00', '+9.00'),
        ('3', '71.00', '60.00', '+11.00'),
        ('4', '73.00', '66.00', '+7.00'),
        ('mean', '72.00', '63.00', '+9.00'),
        ('standard deviation', '1.58', '3.00', '1.58'),
        # 9 over the root of 2.5 / 5.
        ('t', '', '', '12.73'),
        ('p', '', '', '0.00022'),
    ]
    record = json.loads((place.out_dir / 'distillation_noise50.json').read_text())
    assert (record['noise'], record['teacher_top1']) == (0.5, 97.5)
    assert record['seeds'] == [0, 1, 2, 3, 4]
    (found,) = record['gains']
    assert (found['way'], found['difference']['mean']) == ('with a teacher', 9.0)
    assert found['significant'] is True
    assert math.isclose(found['t'], 9 / math.sqrt(0.5))
    printed = capsys.readouterr().out
    assert printed.count('is complete: not repeated') == 11
    assert re.search(r' p +│ +│ +│ 0.00022 ', printed)
    words = (
        'The mean difference, +9.00, is a significant gain (paired t-test, t = 12.73,'
    )
    assert words in ' '.join(printed.split())


def test_a_gain_that_is_noise_is_called_so(place, no_tools, capsys):
    make_students(place.out_dir, [63.0, 67.0], [60.0, 66.0])
    gain = compare_distillation(place, seeds=[0, 1])
    assert (gain.difference.mean, gain.t) == (2.0, pytest.approx(2.0))
    page = (place.out_dir / 'distillation_noise50.md').read_text()
    # With one degree of freedom t is distributed as Cauchy's: 1 - 2 atan(2) / pi.
    assert read_rows(page)[-2:] == [('t', '', '', '2.00'), ('p', '', '', '0.3')]
    words = (
        'The mean difference, +2.00, is not significant (paired t-test, t = 2.00, '
        'p = 0.3): no gain is shown.'
    )
    assert words in page
    printed = capsys.readouterr().out
    assert re.search(r' p +│ +│ +│ 0.3 ', printed)
    assert words in ' '.join(printed.split())


def test_students_differ_in_the_teacher_alone(place, calls):
    compare_distillation(place, seeds=[3, 1], noise=0.125)
    classifier, *students = trained(calls)
    assert classifier[0] == f'{REPO}/configs/rapidnet_ti_shapescls.py'
    assert classifier[1][4:] == ['--cfg-options', 'randomness.seed=0']
    taught = f'model.teacher.checkpoint={place.out_dir}/classifier/iter_1200.pth'
    alone = 'model.head.distillation=none'
    for (config, arguments), seed, way in zip(
        students, (3, 3, 1, 1), (taught, alone) * 2, strict=True
    ):
        labels = place.out_dir / f'labels_noise12.5_seed{seed}.txt'
        assert config == f'{REPO}/configs/rapidnet_slim_shapescls.py'
        assert arguments[4:] == [
            '--cfg-options',
            f'randomness.seed={seed}',
            f'train_dataloader.dataset.ann_file={labels}',
            way,
        ]
        lines = [re.split('[/ ]', line) for line in labels.read_text().splitlines()]
        wrong = sum(CLS_CLASSES[int(given)] != right for right, _, given in lines)
        assert (wrong, len(lines)) == (3, 24)
    assert len({arguments[3] for _, arguments in students}) == 4
    assert (place.out_dir / 'distillation_noise12.5.json').is_file()


def test_students_of_another_teacher_are_taught_anew(place, calls):
    compare_distillation(place, seeds=[0, 1])
    count = len(calls)
    os.utime(place.out_dir / 'classifier' / 'iter_1200.pth', (2e9, 2e9))
    compare_distillation(place, seeds=[0, 1])
    again = [arguments[3] for _, arguments in trained(calls[count:])]
    assert again == [f'{place.out_dir}/student_noise50_taught_seed{s}' for s in (0, 1)]


def test_runs_of_another_length_are_not_mixed_in(place, no_tools):
    make_students(place.out_dir, TAUGHT, ALONE, iters=10)
    message = 'taught_seed0 is a run of 10 iterations, not of 600: give another --out'
    with pytest.raises(UserError, match=message):
        compare_distillation(place)


def test_data_sets_are_drawn_where_there_are_none(place, calls, tmp_path, monkeypatch):
    drawn = []

    def draw(root, progress):
        drawn.append(root)
        (root / 'train' / 'a').mkdir(parents=True)

    monkeypatch.setattr('dev.comparison.training.write_shapes_cls', draw)
    monkeypatch.setattr('dev.comparison.data_sets.write_shapes', draw)
    place = Place(REPO, tmp_path / 'single', tmp_path / 'scenes', tmp_path / 'out')
    for _ in range(2):
        compare_distillation(place, seeds=[0, 1])
        write_scenes(place.dense_root)
    assert drawn == [tmp_path / 'single', tmp_path / 'scenes']


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (dict(seeds=[0]), '--seeds 0: give at least 2, each once'),
        (dict(seeds=[1, 1]), '--seeds 1 1: give at least 2, each once'),
        (dict(iters=1), '--iters 1: give at least 2'),
        (dict(noise=1.0), '--noise 1.0: give a share of the labels'),
        (dict(noise=-0.1), '--noise -0.1: give a share of the labels'),
    ],
)
def test_arguments_that_do_not_fit(arguments, message, place):
    with pytest.raises(UserError, match=f'^{message}'):
        compare_distillation(place, **arguments)
    assert not place.out_dir.exists()


def test_the_command_line_on_finished_runs(place):
    make_students(place.out_dir, [62.0, 68.0], [60.0, 66.0])
    where = ('--cls-root', place.cls_root, '--out', place.out_dir)
    done = fork_tool(
        'dev/compare_training.py', 'distillation', *where, '--seeds', '0', '1'
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert 'is that of every seed: without spread' in ' '.join(done.stdout.split())
    record = json.loads((place.out_dir / 'distillation_noise50.json').read_text())
    assert record['command'].startswith('python -m dev.compare_training distillation')
    assert record['command'].endswith('--seeds 0 1')

    done = fork_tool('dev/compare_training.py', 'distillation', *where, '--seeds', '0')
    assert_one_line_error(done, '--seeds 0: give at least 2, each once')


@pytest.mark.slow
def test_the_command_line_trains(cls_root, tmp_path):
    out = tmp_path / 'out'
    done = fork_tool(
        'dev/compare_training.py',
        'distillation',
        '--cls-root',
        cls_root,
        '--out',
        out,
        '--seeds',
        '0',
        '1',
        '--iters',
        '2',
        '--noise',
        '0.25',
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    (found,) = json.loads((out / 'distillation_noise25.json').read_text())['gains']
    for way, values in (('taught', 'changed'), ('alone', 'plain')):
        names = [f'student_noise25_{way}_seed{seed}' for seed in '01']
        tests = [out / f'{name}_test' / 'metrics.json' for name in names]
        metrics = [json.loads(test.read_text())['metrics'] for test in tests]
        assert found[values]['values'] == [m['accuracy/top1'] for m in metrics]
        for name in names:
            log = (out / f'{name}.log').read_text()
            assert 'Iter(train) [2/2]' in log
            assert ('loss_dist' in log) == (way == 'taught')
