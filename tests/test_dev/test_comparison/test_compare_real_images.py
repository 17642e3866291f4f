"""The comparison of backbones on CamVid and nuclei: made-up runs, and real ones."""

import json
import os

import pytest
import torch
from helpers.commands import REPO, assert_one_line_error
from helpers.made_up_runs import make_run, own_length
from helpers.real_images import write_camvid, write_nuclei
from helpers.tables import read_rows
from helpers.tool_server import fork_tool

from dev.comparison import backbones, runs
from dev.comparison.backbones import compare
from dev.comparison.data_sets import CAMVID, DATA_SETS, NUCLEI
from dev.model_zoo.classifiers import Complexity
from mmrapidnet.config.load import load_config
from mmrapidnet.utils.errors import UserError

SECONDS = [9.0, 1.0, 1.0]


@pytest.fixture
def sizes(monkeypatch):
    """Counting takes no time; the sizes of the images that were counted for."""
    asked = []

    def pretend(backbone, size):
        asked.append(size)
        return Complexity(5_000_000, 2_500_000_000)

    monkeypatch.setattr(backbones, 'measure_used', pretend)
    return asked


@pytest.fixture
def weights(tmp_path):
    """Older than any run."""
    path = tmp_path / 'labels' / 'iter_4.pth'
    path.parent.mkdir()
    torch.save({'a': torch.zeros(1)}, path)
    os.utime(path, (1e9, 1e9))
    return path


def make_camvid(out, model, seed, test, val, sky) -> None:
    make_run(
        out / f'semfpn_{model}_camvid_seed{seed}',
        dict(mIoU=test),
        own_length(CAMVID.config(model)),
        SECONDS,
        validation=dict(mIoU=val),
        ious=dict(sky=sky, pole=2 * seed),
    )


def make_nuclei(out, name, *figures, iters=None) -> None:
    keys = ('coco/segm_mAP', 'coco/segm_mAP_50', 'coco/segm_mAP_75')
    metrics = dict(zip(keys, figures, strict=True))
    iters = iters or own_length(NUCLEI.config('rapidnet_ti'))
    make_run(out / f'maskrcnn_{name}_seed0', metrics, iters, SECONDS)


def test_splits_and_classes_of_camvid(tmp_path, no_tools, sizes):
    # Test means 32 and 41, validation means 52 and 60; of sky 81 and 90.
    for seed, first, second in ((0, 30.0, 40.0), (1, 34.0, 42.0)):
        values = (first, first + 20, 80.0 + 2 * seed)
        make_camvid(tmp_path, 'rapidnet_s', seed, *values)
        make_camvid(tmp_path, 'repvit_m0_9', seed, second, 60.0, 90.0)
    models = ['rapidnet_s', 'repvit_m0_9']
    compare(REPO, CAMVID, tmp_path, tmp_path, [0, 1], models, command='the command')
    assert sizes == [(360, 480)] * 2
    page = (tmp_path / 'camvid.md').read_text()
    iters = own_length(CAMVID.config('rapidnet_s'))
    title = f'Semantic FPN on CamVid, from scratch, {iters} iterations. '
    assert page.startswith(title)
    spread = '1.000 ± 0.000 (n=2)'
    assert read_rows(page) == [
        (
            'model',
            'test mIoU, %',
            'validation mIoU, %',
            'parameters, M',
            'GMACs at 360x480',
            'seconds per iteration',
        ),
        # Squared deviations 4 + 4 and 1 + 1, over 1.
        *[
            (*figures, '5.000', '2.500', spread)
            for figures in (
                ('RapidNet-S', '32.00 ± 2.83 (n=2)', '52.00 ± 2.83 (n=2)'),
                ('RepViT-M0.9', '41.00 ± 1.41 (n=2)', '60.00 ± 0.00 (n=2)'),
            )
        ],
        ('class', 'RapidNet-S', 'RepViT-M0.9'),
        ('sky', '81.0 ± 1.4 (n=2)', '90.0 ± 0.0 (n=2)'),
        ('pole', '1.0 ± 1.4 (n=2)', '1.0 ± 1.4 (n=2)'),
    ]
    first, _ = json.loads((tmp_path / 'camvid.json').read_text())['rows']
    assert first['figures']['test mIoU, %']['values'] == [30.0, 34.0]
    assert first['figures']['validation mIoU, %']['values'] == [50.0, 54.0]
    assert first['classes']['sky']['values'] == [80.0, 82.0]


def test_average_precision_of_nuclei(tmp_path, weights, no_tools, sizes):
    make_nuclei(tmp_path, 'rapidnet_ti_nuclei', 0.5, 0.8, 0.55)
    make_nuclei(tmp_path, 'mobilenetv2_x1_4_nuclei', 0.4, 0.7, 0.45)
    make_nuclei(tmp_path, 'rapidnet_ti_nuclei_from_labels_iter_4', 0.6, 0.9, 0.65)
    paths = (tmp_path, tmp_path)
    compare(REPO, NUCLEI, *paths, NUCLEI.seeds, NUCLEI.backbones, weights)
    assert sizes == [(512, 512)] * 3
    page = (tmp_path / 'nuclei.md').read_text()
    iters = own_length(NUCLEI.config('rapidnet_ti'))
    assert page.startswith(f'Mask R-CNN on nuclei, {iters} iterations. ')
    assert f'pre-trained starts from {weights}, the others from random' in page
    assert [row[:4] for row in read_rows(page)] == [
        ('model', 'mask AP, %', 'mask AP50, %', 'mask AP75, %'),
        ('RapidNet-Ti', '50.00 (n=1)', '80.00 (n=1)', '55.00 (n=1)'),
        ('MobileNetV2 x1.4', '40.00 (n=1)', '70.00 (n=1)', '45.00 (n=1)'),
        ('RapidNet-Ti, pre-trained', '60.00 (n=1)', '90.00 (n=1)', '65.00 (n=1)'),
    ]


def test_trainings_differ_in_backbone_and_start_alone(
    tmp_path, weights, monkeypatch, sizes
):
    calls = []

    def pretend(tool, arguments, log):
        if tool.name == 'train.py':
            calls.append([str(argument) for argument in arguments])
            name = log.stem.removesuffix('_seed0').removeprefix('maskrcnn_')
            make_nuclei(log.parent, name, 0.5, 0.8, 0.55, iters=40)

    monkeypatch.setattr(runs, 'run_tool', pretend)
    out = tmp_path / 'out'
    places = (tmp_path, out, [0], NUCLEI.backbones)
    compare(REPO, NUCLEI, *places, pretrained=weights, iters=40)
    configs = [NUCLEI.config(backbone) for backbone in NUCLEI.backbones]
    names = ['rapidnet_ti_nuclei', 'mobilenetv2_x1_4_nuclei']
    names.append('rapidnet_ti_nuclei_from_labels_iter_4')
    for call, config, name, start in zip(
        calls,
        [*configs, configs[0]],
        names,
        ([], [], ['--pretrained', str(weights)]),
        strict=True,
    ):
        where = ['--data-root', str(tmp_path), '--work-dir']
        folder = f'{out}/maskrcnn_{name}_seed0'
        options = ['--fast', '--cfg-options', 'randomness.seed=0']
        wanted = [f'{REPO}/configs/{config}', *where, folder, *start, *options]
        assert call[: len(wanted)] == wanted
        assert call[len(wanted)] == 'train_cfg.max_iters=40'


@pytest.mark.parametrize('backbone', CAMVID.backbones)
def test_nothing_but_the_test_reads_the_test_images(backbone):
    cfg = load_config(str(REPO / 'configs' / CAMVID.config(backbone)))
    for split in ('train', 'val', 'test'):
        prefix = cfg[f'{split}_dataloader'].dataset.data_prefix
        assert prefix == dict(
            img_path=f'images/{split}', seg_map_path=f'labels/{split}'
        )
    # The validation that ends a training is of its last weights, as the test is.
    assert cfg.train_cfg.max_iters % cfg.train_cfg.val_interval == 0


def test_what_is_compared_where():
    backbones = {name: ' '.join(data.backbones) for name, data in DATA_SETS.items()}
    alike = 'repvit_m0_9 mobilevig_ti mobilenetv2_x1_4'
    assert backbones == dict(
        shapes=f'rapidnet_ti {alike}',
        camvid=f'rapidnet_ti rapidnet_s {alike}',
        nuclei='rapidnet_ti mobilenetv2_x1_4',
    )
    for data in DATA_SETS.values():
        for backbone in data.backbones:
            assert (REPO / 'configs' / data.config(backbone)).is_file()


def test_weights_that_are_not_there(tmp_path):
    places = (tmp_path, tmp_path / 'out', [0], ['rapidnet_ti'])
    with pytest.raises(UserError, match='nothing.pth does not exist'):
        compare(REPO, CAMVID, *places, pretrained=tmp_path / 'nothing.pth')
    assert not (tmp_path / 'out').exists()


def test_the_command_line_on_finished_runs(tmp_path):
    make_camvid(tmp_path, 'mobilevig_ti', 3, 40.0, 50.0, 90.0)
    where = ('--data-root', tmp_path, '--out', tmp_path, '--seeds', '3')
    arguments = ('camvid', *where, '--models', 'mobilevig_ti')
    done = fork_tool('dev/compare_backbones.py', *arguments)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    record = json.loads((tmp_path / 'camvid.json').read_text())
    assert [row['title'] for row in record['rows']] == ['MobileViG-Ti']
    assert record['command'].startswith('python -m dev.compare_backbones camvid ')

    where = ('--data-root', tmp_path / 'nowhere', '--out', tmp_path)
    done = fork_tool('dev/compare_backbones.py', 'nuclei', *where)
    message = '--data-root: there is no folder'
    assert_one_line_error(done, message, 'docs/real_images.md')


@pytest.mark.slow
@pytest.mark.parametrize(
    ('data', 'write'), [(CAMVID, write_camvid), (NUCLEI, write_nuclei)]
)
def test_the_command_line_trains(data, write, tmp_path):
    root, out = tmp_path / 'data', tmp_path / 'out'
    write(root)
    where = ('--data-root', root, '--out', out)
    what = ('--models', 'rapidnet_ti', '--seeds', '0', '--iters', '2')
    done = fork_tool('dev/compare_backbones.py', data.name, *where, *what)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    (row,) = json.loads((out / f'{data.name}.json').read_text())['rows']
    run = f'{data.task}_rapidnet_ti_{data.name}_seed0'
    for figure in data.figures:
        folder = run if figure.split == 'val' else f'{run}_test'
        metrics = json.loads((out / folder / 'metrics.json').read_text())['metrics']
        values = row['figures'][figure.heading]['values']
        assert values == [figure.scale * metrics[figure.metric]]
    if data.classes:
        cfg = load_config(str(REPO / 'configs' / data.config('rapidnet_ti')))
        assert list(row['classes']) == list(
            cfg.test_dataloader.dataset.metainfo.classes
        )
