"""From a published checkpoint to a measured figure, as a user types it."""

import contextlib
import hashlib
import json
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from helpers.commands import REPO, assert_one_line_error, call_tool
from helpers.published import published_keys
from helpers.tool_server import fork_tool
from PIL import Image

from dev import reproduce, subprocess_steps
from dev.benchmark.peers import randomize_norms
from dev.model_zoo import figures
from dev.model_zoo.classifiers import build_classifier
from mmrapidnet.config.load import load_config
from mmrapidnet.utils.errors import UserError

PUBLISHED = figures.read_published(REPO / 'configs' / 'published.yml')
RELEASE = 'https://github.com/THU-MIG/RepViT/releases/download/v1.0'


@pytest.fixture(scope='module')
def imagenet(tmp_path_factory):
    """Four images and mmpretrain's list of them."""
    root = tmp_path_factory.mktemp('imagenet')
    rng = np.random.RandomState(0)
    (root / 'val').mkdir()
    (root / 'meta').mkdir()
    for i in range(4):
        pixels = rng.randint(0, 255, (64, 80, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(root / 'val' / f'{i}.jpg')
    (root / 'meta' / 'val.txt').write_text(''.join(f'{i}.jpg 7\n' for i in range(4)))
    return root


@pytest.fixture(scope='module')
def published_file(tmp_path_factory):
    """RapidNet-Ti as its authors publish it; its moving average predicts class 7."""
    torch.manual_seed(0)
    model = randomize_norms(build_classifier('rapidnet_ti'))
    with torch.no_grad():
        model.classifier.head.bias[7] += 1e4
    ours = {
        name.replace('classifier.', 'head.classifier.'): value
        for name, value in model.state_dict().items()
    }
    names = published_keys('rapidnet_ti', ours)
    average = {names[name]: value for name, value in ours.items()}
    plain = {name: torch.zeros_like(value) for name, value in average.items()}
    path = tmp_path_factory.mktemp('published') / 'RapidNet_Ti.pth'
    torch.save({'state_dict': plain, 'state_dict_ema': average}, path)
    return path


def test_says_which_file_to_fetch():
    done = fork_tool('dev/reproduce.py', 'maskrcnn_rapidnet_m_coco')
    assert_one_line_error(
        done,
        'fetch RapidNet_M_Detection.pth from '
        'https://huggingface.co/SLDGroup/RapidNet/tree/main/Detection',
        'then add --file FILE',
    )


def test_says_each_file_of_several_runs():
    with pytest.raises(UserError) as error:
        reproduce.reproduce(REPO, 'repvit_m0_9_in1k')
    for name in ('repvit_m0_9_distill_300e.pth', 'repvit_m0_9_distill_450e.pth'):
        assert f'{name} from {RELEASE}/{name}' in str(error.value)


def test_model_without_a_published_file():
    message = (
        'no checkpoint is published for maskrcnn_rapidnet_s_coco; there are for '
        '.*maskrcnn_rapidnet_m_coco'
    )
    with pytest.raises(UserError, match=message):
        reproduce.reproduce(REPO, 'maskrcnn_rapidnet_s_coco')


def test_lists_every_file(monkeypatch, capsys):
    monkeypatch.setattr(sys, 'argv', ['reproduce.py', '--list'])
    reproduce.main()
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ['semfpn_repvit_m1_1_ade20k', 'repvit_m1_1_ade20k.pth'] in [
        row[:2] for row in rows
    ]
    with_file = [r for runs in PUBLISHED.models.values() for r in runs if r.where]
    assert len(rows) == len(with_file) >= 31
    assert all(row[2].startswith('https://') for row in rows)


def test_every_published_file_has_a_config():
    for model, _ in reproduce.list_runs(PUBLISHED):
        assert (REPO / 'configs' / f'{model}.py').is_file(), model


def test_missing_file(tmp_path):
    with pytest.raises(UserError, match='there is no file .*gone.pth'):
        reproduce.reproduce(REPO, 'rapidnet_s_in1k', tmp_path / 'gone.pth')


def test_run_is_told_by_the_file_name(tmp_path):
    runs = reproduce.find_runs(PUBLISHED, 'repvit_m0_9_in1k')
    for epochs in (300, 450):
        file = tmp_path / f'repvit_m0_9_distill_{epochs}e.pth'
        run = reproduce.match_run(runs, file, 'repvit_m0_9_in1k')
        assert run.setting == f'{epochs} epochs'
    with pytest.raises(UserError, match='other.pth may be any of .*_300e.pth or .*450'):
        reproduce.match_run(runs, tmp_path / 'other.pth', 'repvit_m0_9_in1k')


@pytest.mark.parametrize(
    ('model', 'metrics', 'expected'),
    [
        (
            'maskrcnn_rapidnet_m_coco',
            {'coco/bbox_mAP': 0.4126, 'coco/segm_mAP': 0.381, 'coco/bbox_mAP_50': 0.6},
            {'box AP': 41.26, 'mask AP': 38.1},
        ),
        (
            'sam_repvit_m2_3_coco',
            {'coco/bbox_mAP': 0.5, 'coco/segm_mAP': 0.444},
            {'mask AP': 44.4},
        ),
        ('semfpn_rapidnet_m_ade20k', {'mIoU': 40.61, 'aAcc': 80.0}, {'mIoU': 40.61}),
        (
            'rapidnet_s_in1k',
            {'accuracy/top1': 79.125, 'accuracy/top5': 94.0},
            {'Top 1 Accuracy': 79.12},
        ),
    ],
)
def test_record_of_a_test(tmp_path, monkeypatch, model, metrics, expected):
    monkeypatch.setattr(reproduce, 'count_images', lambda cfg: 5)
    record = tmp_path / 'metrics.json'
    record.write_text(json.dumps(dict(metrics=metrics, seconds_per_image=0.25)))
    file = tmp_path / 'published.pth'
    file.write_bytes(b'abc')
    cfg = load_config(str(REPO / 'configs' / f'{model}.py'))
    run = figures.PublishedRun(setting='300 epochs')
    result = reproduce.make_result(model, run, file, cfg, record)
    assert result.figures == expected
    assert result.sha256 == hashlib.sha256(b'abc').hexdigest()
    assert (result.images, result.seconds_per_image) == (5, 0.25)
    assert result.setting == '300 epochs'
    assert result.versions['torch'] == torch.__version__
    assert cfg.default_scope in result.versions
    figures.add_result(result, tmp_path / 'results.yml')
    assert figures.read_results(tmp_path / 'results.yml') == [result]


def test_a_test_without_the_figure(tmp_path):
    record = tmp_path / 'metrics.json'
    record.write_text(json.dumps(dict(metrics={'aAcc': 1.0}, seconds_per_image=1)))
    cfg = load_config(str(REPO / 'configs' / 'semfpn_rapidnet_m_ade20k.py'))
    with pytest.raises(UserError, match='metrics.json has no mIoU: it has aAcc'):
        reproduce.make_result(
            'semfpn_rapidnet_m_ade20k', figures.PublishedRun(), record, cfg, record
        )


def fork_command(command, **streams):
    """What ``subprocess.Popen`` does, but that no new Python is started."""
    _, tool, *arguments = command
    done = fork_tool(tool, *arguments)
    lines = (done.stdout + done.stderr).splitlines(keepends=True)
    return contextlib.nullcontext(
        SimpleNamespace(stdout=lines, returncode=done.returncode)
    )


def test_reproduces(published_file, imagenet, tmp_path, monkeypatch):
    forking = SimpleNamespace(Popen=fork_command, PIPE=None, STDOUT=None)
    monkeypatch.setattr(subprocess_steps, 'subprocess', forking)
    work_dir, results = tmp_path / 'work', tmp_path / 'results.yml'
    kept = (REPO / 'results.yml').read_text()
    done = call_tool(
        'dev/reproduce.py',
        'rapidnet_ti_in1k',
        '--file',
        published_file,
        '--data-root',
        imagenet,
        '--work-dir',
        work_dir,
        '--results',
        results,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert 'convert_checkpoint.py' in done.stdout
    assert '--model rapidnet_ti' in done.stdout
    assert 'test.py' in done.stdout
    assert 'Top 1 Accuracy 100.0' in done.stdout
    assert '4 images are not the 50000 of ImageNet-1k' in done.stdout
    (result,) = figures.read_results(results)
    assert result.figures == {'Top 1 Accuracy': 100.0}
    assert (result.model, result.checkpoint) == ('rapidnet_ti_in1k', 'RapidNet_Ti.pth')
    assert result.sha256 == hashlib.sha256(published_file.read_bytes()).hexdigest()
    assert result.images == 4
    assert result.command == (
        'python -m dev.reproduce rapidnet_ti_in1k --file RapidNet_Ti.pth'
    )
    assert (REPO / 'results.yml').read_text() == kept


def test_nothing_is_measured_if_a_step_fails(
    published_file, imagenet, tmp_path, monkeypatch
):
    def fail(tool, arguments, log):
        raise UserError(f'{tool.name} {" ".join(map(str, arguments))} (see {log.name})')

    monkeypatch.setattr(reproduce, 'run_tool', fail)
    results = tmp_path / 'results.yml'
    message = r'convert_checkpoint\.py .* --model rapidnet_m \(see convert\.log\)'
    with pytest.raises(UserError, match=message):
        reproduce.reproduce(
            REPO, 'rapidnet_m_in1k', published_file, imagenet, tmp_path, results
        )
    assert not results.exists()
