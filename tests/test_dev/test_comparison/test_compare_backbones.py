"""The comparison of backbones: its figures on made-up runs, and one real run."""

import json
import math
import re

import pytest
import torch
from helpers.commands import REPO, assert_one_line_error
from helpers.made_up_runs import make_run
from helpers.tables import read_rows
from helpers.tool_server import fork_tool
from torch import nn

from dev.comparison import runs
from dev.comparison.backbones import compare
from dev.comparison.cost import measure_used, median_seconds
from dev.comparison.data_sets import SHAPES
from dev.folders import renew_folder
from mmrapidnet.utils.env import processor_name
from mmrapidnet.utils.errors import UserError


def make(out, model, seed, miou, seconds, iters=440) -> None:
    folder = out / f'semfpn_{model}_shapes_seed{seed}'
    make_run(folder, dict(mIoU=miou, aAcc=99.0), iters, seconds)


def test_table_of_finished_runs(tmp_path, no_tools, capsys):
    out = tmp_path / 'out'
    # Means 60 and 50, squared deviations 4 + 0 + 4 and 9 + 9 + 36 over 2.
    for seed, a, b in ((0, 58.0, 53.0), (1, 60.0, 53.0), (2, 62.0, 44.0)):
        make(out, 'repvit_m0_9', seed, a, [9.0, 0.5 + seed, 0.5 + seed])
        make(out, 'mobilenetv2_x1_4', seed, b, [9.0, 0.1, 0.25, 0.7])
    names = ['repvit_m0_9', 'mobilenetv2_x1_4']
    rows = compare(
        REPO, SHAPES, tmp_path, out, SHAPES.seeds, names, command='the command'
    )
    repvit, mobilenet = (row.figures['mIoU, %'] for row in rows)
    assert (repvit.mean, repvit.stdev) == (60.0, 2.0)
    assert mobilenet.mean == 50.0
    assert math.isclose(mobilenet.stdev, math.sqrt(27))
    repvit, mobilenet = rows
    assert repvit.seconds.values == [0.5, 1.5, 2.5]
    assert (repvit.seconds.mean, repvit.seconds.stdev) == (1.5, 1.0)
    assert (mobilenet.seconds.mean, mobilenet.seconds.stdev) == (0.25, 0.0)

    page = (out / 'shapes.md').read_text()
    assert 'the command' in page and torch.__version__ in page
    assert page.startswith('Semantic FPN on Shapes, from scratch, 440 iterations. ')
    assert processor_name() in page and 'mIoU on the held-out images. Mean' in page
    header, first, second = read_rows(page)
    assert header == (
        'model',
        'mIoU, %',
        'parameters, M',
        'GMACs at 192x192',
        'seconds per iteration',
    )
    assert first[:3] == ('RepViT-M0.9', '60.00 ± 2.00 (n=3)', '4.718')
    assert first[-1] == '1.500 ± 1.000 (n=3)'
    assert second[:3] == ('MobileNetV2 x1.4', '50.00 ± 5.20 (n=3)', '3.509')
    record = json.loads((out / 'shapes.json').read_text())
    assert record['command'] == 'the command'
    assert record['rows'][0]['figures'] == {
        'mIoU, %': dict(values=[58.0, 60.0, 62.0], mean=60.0, stdev=2.0)
    }
    printed = capsys.readouterr().out
    assert printed.count('is complete: not repeated') == 6
    assert '60.00 ± 2.00' in printed


def test_a_run_that_is_not_complete_is_made_anew(tmp_path, monkeypatch):
    out = tmp_path / 'out'
    seeds, models = (5, 3), ('rapidnet_ti', 'mobilevig_ti')
    make(out, 'mobilevig_ti', 5, 50.0, [1.0, 1.0])
    rest = out / 'semfpn_rapidnet_ti_shapes_seed5' / 'iter_110.pth'
    renew_folder(rest.parent, ())
    rest.touch()
    calls = []

    def pretend(tool, arguments, log):
        arguments = [str(argument) for argument in arguments]
        calls.append((tool.name, *arguments))
        assert not rest.exists()
        name = log.stem
        if tool.name == 'train.py':
            model, seed = re.fullmatch(r'semfpn_(\w+)_shapes_seed(\d)', name).groups()
            make(out, model, int(seed), 40.0, [1.0, 1.0])
            (out / name / 'last_checkpoint').write_text(f'{name}.pth')

    monkeypatch.setattr(runs, 'run_tool', pretend)
    compare(REPO, SHAPES, tmp_path, out, seeds, models)
    configs = [f'{REPO}/configs/semfpn_{model}_shapes.py' for model in models]
    trained = [call for call in calls if call[0] == 'train.py']
    # All models of a seed before the next seed.
    assert [(call[1], call[-1]) for call in trained] == [
        (configs[0], 'randomness.seed=5'),
        (configs[0], 'randomness.seed=3'),
        (configs[1], 'randomness.seed=3'),
    ]
    assert trained[0][2:6] == (
        '--data-root',
        f'{tmp_path}/ade',
        '--work-dir',
        f'{out}/semfpn_rapidnet_ti_shapes_seed5',
    )
    tested = [call for call in calls if call[0] == 'test.py']
    assert [call[1:3] for call in tested] == [
        (configs[0], 'semfpn_rapidnet_ti_shapes_seed5.pth'),
        (configs[0], 'semfpn_rapidnet_ti_shapes_seed3.pth'),
        (configs[1], 'semfpn_mobilevig_ti_shapes_seed3.pth'),
    ]
    assert tested[0][-1] == f'{out}/semfpn_rapidnet_ti_shapes_seed5_test'


def test_an_interrupted_run_goes_on_if_nothing_changed(tmp_path, monkeypatch):
    out, left = tmp_path / 'out', []

    def interrupt(tool, arguments, log):
        rest = log.with_suffix('') / 'iter_110.pth'
        left.append((rest.exists(), '--resume' in arguments))
        rest.touch()
        raise UserError('interrupted')

    monkeypatch.setattr(runs, 'run_tool', interrupt)
    for iters in (220, 220, 200):
        with pytest.raises(UserError, match='interrupted'):
            compare(REPO, SHAPES, tmp_path, out, [0], ['rapidnet_ti'], iters=iters)
    assert left == [(False, False), (True, True), (False, False)]


def test_runs_of_another_length_are_not_mixed_in(tmp_path, no_tools):
    make(tmp_path, 'rapidnet_ti', 0, 50.0, [1.0, 1.0], iters=8)
    message = 'shapes_seed0 is a run of 8 iterations, not of 440: give another'
    with pytest.raises(UserError, match=message):
        compare(REPO, SHAPES, tmp_path, tmp_path, [0], ['rapidnet_ti'])


@pytest.mark.parametrize('seconds', [[], [1.0]])
def test_a_run_that_logged_too_little(seconds, tmp_path):
    make(tmp_path, 'rapidnet_ti', 0, 50.0, seconds)
    message = f'logged {len(seconds)} times of training iterations, at least 2 are need'
    with pytest.raises(UserError, match=message):
        median_seconds(tmp_path / 'semfpn_rapidnet_ti_shapes_seed0')


def test_layers_that_no_output_uses_do_not_count():
    class Backbone(nn.Module):
        def __init__(self):
            super().__init__()
            self.used = nn.Conv2d(3, 4, 1, bias=False)
            self.block = nn.Sequential(nn.Conv2d(4, 5, 1), nn.Conv2d(5, 6, 1))

        def forward(self, x):
            x = self.used(x)
            y = self.block[0](x)
            self.block[1](y)
            return x, y

    backbone = Backbone()
    cost = measure_used(backbone, (10, 20))
    # 3 x 4, and 4 x 5 with a bias; the 5 x 6 serves no output.
    assert cost.params == 12 + 25
    assert cost.macs == (12 + 20) * 200
    assert all(parameter.grad is None for parameter in backbone.parameters())


@pytest.mark.parametrize('frozen_stages', [-1, 2])
def test_mobilenetv2_without_its_last_convolution(frozen_stages):
    from mmpretrain.models import MobileNetV2

    arguments = dict(widen_factor=1.4, frozen_stages=frozen_stages)
    backbone = MobileNetV2(out_indices=(1, 2, 4, 6), **arguments)
    everything = sum(p.numel() for p in backbone.parameters())
    # 448 channels to 1792, and the weight and bias of its norm.
    last = 448 * 1792 + 2 * 1792
    cost = measure_used(backbone, (64, 64))
    assert cost.params == everything - last
    whole = measure_used(MobileNetV2(out_indices=(7,), **arguments), (64, 64))
    assert whole.params == everything
    assert whole.macs == cost.macs + (448 * 1792 + 2 * 1792) * 2 * 2


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (dict(seeds=[0, 0]), '--seeds 0 0: give at least 1, each once'),
        (dict(models=[]), '--models : give at least 1, each once'),
        (
            dict(models=['resnet']),
            f'--models: unknown resnet: choose some of {", ".join(SHAPES.backbones)}',
        ),
        (dict(iters=1), '--iters 1: give at least 2'),
    ],
)
def test_arguments_that_do_not_fit(arguments, message, tmp_path):
    with pytest.raises(UserError, match=f'^{message}$'):
        compare(
            *(REPO, SHAPES, tmp_path / 'data', tmp_path / 'out'),
            **{'seeds': [0], 'models': ['rapidnet_ti'], **arguments},
        )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_the_command_line(shapes_root, tmp_path):
    out = tmp_path / 'out'
    done = fork_tool(
        'dev/compare_backbones.py',
        '--data-root',
        shapes_root,
        '--out',
        out,
        '--seeds',
        '0',
        '--iters',
        '4',
        '--models',
        'rapidnet_ti',
        'mobilenetv2_x1_4',
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    record = json.loads((out / 'shapes.json').read_text())
    titles = [row['title'] for row in record['rows']]
    assert titles == ['RapidNet-Ti', 'MobileNetV2 x1.4']
    for row, model in zip(record['rows'], ('rapidnet_ti', 'mobilenetv2_x1_4')):
        run = out / f'semfpn_{model}_shapes_seed0'
        assert json.loads((run / 'metrics.json').read_text())['iter'] == 4
        tested = json.loads((out / f'{run.name}_test' / 'metrics.json').read_text())
        assert row['figures']['mIoU, %']['values'] == [tested['metrics']['mIoU']]
        assert row['seconds']['values'] == [median_seconds(run)]
        log = (out / f'{run.name}.log').read_text()
        assert 'Iter(train) [4/4]' in log
    assert record['command'].endswith('--models rapidnet_ti mobilenetv2_x1_4')
    assert 'tools/train.py' in done.stdout and 'RapidNet-Ti' in done.stdout

    done = fork_tool('dev/compare_backbones.py', '--iters', '1', '--out', out)
    assert_one_line_error(done, '--iters 1: give at least 2')
