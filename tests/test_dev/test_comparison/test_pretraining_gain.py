"""What pre-training is worth on CamVid: made-up runs, and real ones."""

import json
import math
import os
import re
from pathlib import Path

import pytest
import torch
from helpers.commands import REPO, assert_one_line_error
from helpers.made_up_runs import make_run, own_length
from helpers.real_images import write_camvid, write_classes
from helpers.tables import read_rows
from helpers.tool_server import fork_tool

from dev.comparison import runs
from dev.comparison.pretraining import CLASSIFIERS, SEGMENTER, compare_pretraining
from dev.comparison.training import Place
from mmrapidnet.utils.errors import UserError

TEST = {
    'labels': [38.0, 42.0, 43.0],
    'distillation': [45.0, 44.0, 46.0],
    'scratch': [36.0, 38.0, 37.0],
}


@pytest.fixture
def place(tmp_path):
    for name in ('tiny', 'camvid'):
        (tmp_path / name).mkdir()
    return Place(REPO, tmp_path / 'tiny', tmp_path / 'camvid', tmp_path / 'out')


@pytest.fixture
def teacher(tmp_path):
    path = tmp_path / 'teacher.pth'
    torch.save({'a': torch.zeros(1)}, path)
    # Older than any run.
    os.utime(path, (1e9, 1e9))
    return path


@pytest.fixture
def calls(monkeypatch):
    """The tools do nothing but leave a run; what trainings were called with."""
    made = []

    def pretend(tool, arguments, log):
        if tool.name != 'train.py':
            return
        config, *arguments = map(str, arguments)
        made.append((config, arguments))
        length = int(re.search(r'max_iters=(\d+)', ' '.join(arguments))[1])
        metrics = {'accuracy/top1': 60.0, 'mIoU': 40.0}
        folder = log.with_name(log.name.removesuffix('.log'))
        make_run(folder, metrics, length, validation=dict(mIoU=50.0))

    monkeypatch.setattr(runs, 'run_tool', pretend)
    return made


def make_finished(out, names, seeds=(0, 1, 2)) -> None:
    """A complete comparison at the configs' own lengths; validation is 20 better."""
    for name, top1 in (('labels', 61.25), ('distillation', 63.5)):
        metrics, iters = {'accuracy/top1': top1}, own_length(CLASSIFIERS[name])
        make_run(out / f'classifier_{name}', metrics, iters)
    iters = own_length(SEGMENTER)
    for name in names:
        for seed in seeds:
            miou = TEST[name][seed]
            make_run(
                out / f'segmenter_{iters}iters_{name}_seed{seed}',
                dict(mIoU=miou),
                iters,
                validation=dict(mIoU=miou + 20),
            )


def read_page(place, name) -> str:
    stem = f'pretraining_{own_length(SEGMENTER)}iters'
    return (place.out_dir / f'{stem}_{name}').read_text()


def test_three_starts_in_one_table(place, teacher, no_tools):
    make_finished(place.out_dir, TEST)
    gains = compare_pretraining(place, teacher=teacher, command='the command')
    labels, distilled = gains['test']
    assert labels.difference.values == [2.0, 4.0, 6.0]
    assert distilled.difference.values == [9.0, 6.0, 9.0]

    page = read_page(place, 'test.md')
    assert page.startswith(
        'Test mIoU, %, of Semantic FPN RapidNet-Ti on CamVid, '
        f'{own_length(SEGMENTER)} iterations. Measured'
    )
    assert read_rows(page) == [
        (
            'seed',
            'labels',
            'distillation',
            'scratch',
            'labels less scratch',
            'distillation less scratch',
        ),
        ('0', '38.00', '45.00', '36.00', '+2.00', '+9.00'),
        ('1', '42.00', '44.00', '38.00', '+4.00', '+6.00'),
        ('2', '43.00', '46.00', '37.00', '+6.00', '+9.00'),
        ('mean', '41.00', '45.00', '37.00', '+4.00', '+8.00'),
        # Squared deviations 9 + 1 + 4, 0 + 1 + 1, 1 + 1 + 0, 4 + 0 + 4 and 1 + 4 + 1,
        # each over 2.
        ('standard deviation', '2.65', '1.00', '1.00', '2.00', '1.73'),
        # 4 over the root of 4 / 3, and 8 over the root of 3 / 3.
        ('t', '', '', '', '3.46', '8.00'),
        # Of two degrees of freedom it is 1 - t / sqrt(t^2 + 2).
        ('p', '', '', '', '0.074', '0.015'),
    ]
    assert math.isclose(labels.p, 1 - math.sqrt(12 / 14))
    assert math.isclose(distilled.p, 1 - 8 / math.sqrt(66))
    assert 'labels: The mean difference, +4.00, is not significant' in page
    assert 'distillation: The mean difference, +8.00, is a significant gain' in page
    iters = own_length(CLASSIFIERS['labels'])
    assert f'is 61.25 % from labels ({iters} iterations) and 63.50 % from dist' in page
    assert 'left out' not in page and 'the command' in page
    record = json.loads(read_page(place, 'test.json'))
    assert record['top1'] == dict(labels=61.25, distillation=63.5)
    assert record['teacher'] == str(teacher)
    assert [gain['way'] for gain in record['gains']] == ['labels', 'distillation']
    assert [gain['significant'] for gain in record['gains']] == [False, True]


def test_validation_has_a_table_of_its_own(place, teacher, no_tools):
    make_finished(place.out_dir, TEST)
    gains = compare_pretraining(place, teacher=teacher)
    assert gains['val'][0].changed.values == [58.0, 62.0, 63.0]
    assert gains['test'][0].changed.values == [38.0, 42.0, 43.0]
    page = read_page(place, 'val.md')
    assert page.startswith('Validation mIoU, %, of Semantic FPN RapidNet-Ti on CamVid')
    assert read_rows(page)[1][:4] == ('0', '58.00', '65.00', '56.00')


def test_one_seed_without_a_teacher(place, no_tools):
    make_finished(place.out_dir, ('labels', 'scratch'), seeds=[1])
    ((gain,), _) = compare_pretraining(place, seeds=[1]).values()
    assert gain.difference.values == [4.0]
    page = read_page(place, 'test.md')
    assert read_rows(page) == [
        ('seed', 'labels', 'scratch', 'difference'),
        ('1', '42.00', '38.00', '+4.00'),
        ('mean', '42.00', '38.00', '+4.00'),
        ('standard deviation', '', '', ''),
        ('t', '', '', ''),
        ('p', '', '', ''),
    ]
    assert '+4.00, is of one seed: there is no t-test.' in page
    assert 'the start from distillation is left out.' in page


def test_segmenters_differ_in_their_start_alone(place, teacher, calls):
    compare_pretraining(place, [3, 1], teacher, iters=40, cls_iters=20)
    classifiers, segmenters = calls[:2], calls[2:]
    for (config, arguments), name in zip(classifiers, CLASSIFIERS, strict=True):
        assert config == f'{REPO}/configs/{CLASSIFIERS[name]}'
        assert arguments[1] == str(place.cls_root)
        assert arguments[4:7] == ['--fast', '--cfg-options', 'randomness.seed=0']
        assert 'train_cfg.max_iters=20' in arguments
        taught = f'model.teacher.checkpoint={teacher}' in arguments
        assert taught == (name == 'distillation')
    starts = [
        ['--pretrained', f'{place.out_dir}/classifier_{name}/iter_20.pth']
        for name in CLASSIFIERS
    ]
    folders = set()
    for (config, arguments), seed, start in zip(
        segmenters, (3, 3, 3, 1, 1, 1), [*starts, []] * 2, strict=True
    ):
        assert config == f'{REPO}/configs/semfpn_rapidnet_ti_camvid.py'
        assert arguments[1] == str(place.dense_root)
        options = ['--fast', '--cfg-options', f'randomness.seed={seed}']
        assert arguments[4:][: len(start) + 3] == [*start, *options]
        assert 'train_cfg.max_iters=40' in arguments
        folders.add(arguments[3])
    assert len(folders) == 6


def test_classifiers_serve_segmenters_of_any_length(place, calls):
    for iters in (40, 60):
        compare_pretraining(place, [0], iters=iters, cls_iters=20)
    names = [Path(arguments[3]).name for _, arguments in calls]
    assert names == [
        'classifier_labels',
        'segmenter_40iters_labels_seed0',
        'segmenter_40iters_scratch_seed0',
        'segmenter_60iters_labels_seed0',
        'segmenter_60iters_scratch_seed0',
    ]
    # Those of another classifier start anew; the one from scratch does not.
    os.utime(place.out_dir / 'classifier_labels' / 'iter_20.pth', (2e9, 2e9))
    compare_pretraining(place, [0], iters=60, cls_iters=20)
    assert [Path(arguments[3]).name for _, arguments in calls[5:]] == names[3:4]


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (dict(seeds=[1, 1]), '--seeds 1 1: give at least 1, each once'),
        (dict(iters=1), '--iters 1: give at least 2'),
        (dict(cls_iters=1), '--cls-iters 1: give at least 2'),
        (dict(teacher=Path('nothing.pth')), 'nothing.pth does not exist'),
    ],
)
def test_arguments_that_do_not_fit(arguments, message, place):
    with pytest.raises(UserError, match=message):
        compare_pretraining(place, **arguments)
    assert not place.out_dir.exists()


@pytest.mark.parametrize('option', ['--cls-root', '--dense-root'])
def test_the_command_line_without_data(option, place):
    roots = {'--cls-root': place.cls_root, '--dense-root': place.dense_root}
    roots[option] = place.out_dir / 'nowhere'
    where = [word for pair in roots.items() for word in pair]
    done = fork_tool(
        'dev/compare_training.py', 'pretraining', *where, '--out', place.out_dir
    )
    assert_one_line_error(done, f'{option}: there is no folder', 'real_images.md')


@pytest.mark.slow
def test_the_command_line_trains(tmp_path):
    write_classes(tmp_path / 'tiny')
    write_camvid(tmp_path / 'camvid')
    out = tmp_path / 'out'
    done = fork_tool(
        'dev/compare_training.py',
        'pretraining',
        '--cls-root',
        tmp_path / 'tiny',
        '--dense-root',
        tmp_path / 'camvid',
        '--out',
        out,
        '--seeds',
        '0',
        '--iters',
        '2',
        '--cls-iters',
        '2',
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    started, scratch = (
        out / f'segmenter_2iters_{name}_seed0' for name in ('labels', 'scratch')
    )
    for split, suffix in (('test', '_test'), ('val', '')):
        path = out / f'pretraining_2iters_{split}.json'
        (found,) = json.loads(path.read_text())['gains']
        for run, way in ((started, 'changed'), (scratch, 'plain')):
            metrics = out / f'{run.name}{suffix}' / 'metrics.json'
            miou = json.loads(metrics.read_text())['metrics']['mIoU']
            assert found[way]['values'] == [miou]
    log = started.with_suffix('.log').read_text()
    assert re.search(r'RapidNet: matched 507 of 507 tensors with \S+classifier', log)
    log = scratch.with_suffix('.log').read_text()
    assert 'the backbone starts from random weights' in log
