"""Segment anything trained and tested by the command lines."""

import json

import pytest
import torch
from helpers import tiny_models
from helpers.commands import REPO
from helpers.tool_server import fork_tool
from mmengine.registry import MODELS

from mmrapidnet.checkpoints.safe_load.load import load
from mmrapidnet.config.load import load_config

SHORT = (
    'train_cfg.max_iters=2',
    'train_cfg.val_interval=2',
    'default_hooks.checkpoint.interval=2',
    'default_hooks.logger.interval=1',
    'train_dataloader.batch_size=2',
    'train_dataloader.num_workers=0',
    'train_dataloader.persistent_workers=False',
)
FIGURES = ['box', '1_click', '3_clicks', '5_clicks']


def run(*arguments, options=SHORT):
    done = fork_tool(*arguments, '--cfg-options', *options)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def figures(work_dir):
    return json.loads((work_dir / 'metrics.json').read_text())['metrics']


@pytest.fixture(scope='module')
def config(tmp_path_factory):
    return tiny_models.write_config('sam', tmp_path_factory.mktemp('config'))


def test_trained_and_tested(config, shapes_root, tmp_path):
    """From a backbone's weights, the fast way; then both tests say the same."""
    cfg = load_config(str(config))
    backbone = MODELS.build(cfg.model).backbone
    torch.save(backbone.state_dict(), tmp_path / 'backbone.pth')
    common = ('--data-root', shapes_root / 'coco', '--work-dir', tmp_path / 'run')
    start = ('--pretrained', tmp_path / 'backbone.pth', '--fast')
    printed = run('train.py', config, *common, *start)
    count = len(backbone.state_dict())
    assert f'RepViT: matched {count} of {count} tensors' in printed
    assert 'loss_mask' in printed and 'last_iou' in printed
    trained = figures(tmp_path / 'run')
    assert list(trained) == [f'prompted_iou/{name}' for name in FIGURES]
    assert all(0 <= value <= 1 for value in trained.values())

    printed = run('test.py', config, tmp_path / 'run' / 'iter_2.pth', *common)
    assert figures(tmp_path / 'run') == pytest.approx(trained, abs=1e-3)
    assert f'prompted_iou/5_clicks │ {figures(tmp_path / "run")[FIVE]:.4f}' in printed


FIVE = 'prompted_iou/5_clicks'


def test_only_the_decoder(config, shapes_root, tmp_path):
    common = ('--data-root', shapes_root / 'coco', '--work-dir', tmp_path)
    model = MODELS.build(load_config(str(config)).model)
    torch.save({'state_dict': model.state_dict()}, tmp_path / 'start.pth')
    start = (f'load_from={tmp_path / "start.pth"}', 'model.frozen_encoder=True')
    run('train.py', config, *common, options=(*SHORT, *start))
    weights = load(tmp_path / 'iter_2.pth')['state_dict']
    changed = {
        name.split('.')[0]
        for name, value in model.state_dict().items()
        if not torch.equal(value, weights[name])
    }
    assert changed == {'prompt_encoder', 'mask_decoder'}


def test_own_data(shapes_root, tmp_path):
    """The template, on objects of one class in COCO's layout."""
    root = tmp_path / 'own'
    (root / 'annotations').mkdir(parents=True)
    for split in ('train', 'val'):
        (root / split).symlink_to(shapes_root / 'coco' / f'{split}2017')
        name = f'annotations/instances_{split}2017.json'
        content = json.loads((shapes_root / 'coco' / name).read_text())
        content['categories'] = [dict(id=1, name='thing')]
        for annotation in content['annotations']:
            annotation['category_id'] = 1
        (root / 'annotations' / f'{split}.json').write_text(json.dumps(content))
    template = (REPO / 'configs' / 'sam_repvit_m0_6_custom.py').read_text()
    for before, after in (
        ("'sam_repvit_m0_6_shapes.py'", f"'{REPO}/configs/sam_repvit_m0_6_shapes.py'"),
        ("'data/custom/'", repr(f'{root}/')),
        ("('cat', 'dog')", "('thing',)"),
        ('image_size = 512', 'image_size = 64'),
    ):
        assert before in template
        template = template.replace(before, after)
    own = tmp_path / 'my_own.py'
    own.write_text(template)
    loaders = (
        f'{name}_dataloader.{key}'
        for name in ('train', 'val')
        for key in ('num_workers=0', 'persistent_workers=False')
    )
    run('train.py', own, '--work-dir', tmp_path / 'run', options=(*SHORT, *loaders))
    assert list(figures(tmp_path / 'run')) == [f'prompted_iou/{n}' for n in FIGURES]
