"""The configs for single objects of Shapes: what they are, and that they run."""

import json

import numpy as np
import pytest
import torch
from helpers.commands import REPO
from helpers.tool_server import fork_tool
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, init_default_scope

from mmrapidnet.config.load import load_config
from mmrapidnet.datasets.shapes import CLS_CLASSES, write_shapes_cls

NAMES = ('rapidnet_ti', 'rapidnet_slim')
QUICK = (
    'train_cfg.max_iters=2',
    'train_cfg.val_interval=2',
    'default_hooks.checkpoint.interval=2',
    'default_hooks.logger.interval=1',
    'train_dataloader.batch_size=4',
    *(
        f'{name}_dataloader.{key}'
        for name in ('train', 'val', 'test')
        for key in ('num_workers=0', 'persistent_workers=False')
    ),
)


def load(name: str) -> Config:
    return load_config(str(REPO / 'configs' / f'{name}_shapescls.py'))


def build(cfg: Config) -> torch.nn.Module:
    init_default_scope(cfg.default_scope)
    return MODELS.build({**cfg.model, 'data_preprocessor': cfg.data_preprocessor})


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    """Two images per class to train on and one held out."""
    root = tmp_path_factory.mktemp('data') / 'shapes_cls'
    write_shapes_cls(root, splits={'train': 24, 'val': 12})
    return root


@pytest.mark.parametrize('name', NAMES)
def test_classes_are_those_that_are_drawn(name):
    cfg = load(name)
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        assert tuple(loader.dataset.classes) == CLS_CLASSES
    assert cfg.model.head.classifier.num_classes == len(CLS_CLASSES)
    assert cfg.data_preprocessor.num_classes == len(CLS_CLASSES)


@pytest.mark.parametrize('name', NAMES)
def test_schedule_ends_with_the_training(name):
    cfg = load(name)
    warm_up, cosine = cfg.param_scheduler
    length = cfg.train_cfg.max_iters
    assert (warm_up.begin, warm_up.end) == (0, cosine.begin)
    assert cosine.end == length
    # The last weights are validated and kept.
    assert length % cfg.train_cfg.val_interval == 0
    assert length % cfg.default_hooks.checkpoint.interval == 0


def test_student_is_smaller_than_its_teacher():
    student, teacher = load('rapidnet_slim'), load('rapidnet_ti')
    expected = teacher.model.to_dict()
    found = student.model.teacher.to_dict()
    length = teacher.train_cfg.max_iters
    assert (
        found.pop('checkpoint') == f'work_dirs/rapidnet_ti_shapescls/iter_{length}.pth'
    )
    assert found == expected
    assert student.model.head.distillation == 'hard'
    assert teacher.model.head.distillation == 'none'
    sizes = [
        sum(p.numel() for p in build(cfg).parameters()) for cfg in (student, teacher)
    ]
    assert sizes[0] < sizes[1] / 5
    for cfg in (student, teacher):
        for key in ('model', 'train_cfg', 'param_scheduler', 'max_iters', 'work_dir'):
            cfg.pop(key)
        cfg.default_hooks.checkpoint.pop('interval')
    assert student.to_dict() == teacher.to_dict()


@pytest.mark.parametrize('name', NAMES)
def test_all_parameters_learn_and_predictions_are_of_twelve_classes(name):
    cfg = load(name)
    cfg.model.head.distillation = 'none'
    torch.manual_seed(0)
    model = build(cfg)
    model.init_weights()
    optim_wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    before = {key: value.clone() for key, value in model.named_parameters()}
    from mmpretrain.structures import DataSample

    rng = np.random.RandomState(0)
    images = torch.from_numpy(rng.randint(0, 255, (4, 3, 64, 64), dtype=np.uint8))
    samples = [DataSample().set_gt_label(label) for label in (0, 3, 11, 3)]
    batch = dict(inputs=images, data_samples=samples)
    model.train()
    log = model.train_step(batch, optim_wrapper)
    # The loss of a model that knows nothing.
    assert log['loss'].item() == pytest.approx(np.log(12), abs=1)
    for key, value in model.named_parameters():
        assert not torch.equal(value, before[key]), key
    model.eval()
    predictions = model.test_step(batch)
    assert [tuple(p.pred_score.shape) for p in predictions] == [(12,)] * 4


def test_training_and_teaching(root, tmp_path):
    config = 'configs/rapidnet_ti_shapescls.py'
    data = ('--data-root', root, '--work-dir')
    teacher = tmp_path / 'teacher'
    done = fork_tool('train.py', config, *data, teacher, '--cfg-options', *QUICK)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    (scalars,) = teacher.glob('*/vis_data/scalars.json')
    logged = map(json.loads, scalars.read_text().splitlines())
    (metrics,) = (
        {key: value for key, value in line.items() if key.startswith('accuracy')}
        for line in logged
        if 'accuracy/top1' in line
    )
    assert set(metrics) == {'accuracy/top1', 'accuracy/top5'}
    # In twelfths, one held-out image per class.
    twelfths = [value * 12 / 100 for value in metrics.values()]
    assert twelfths == pytest.approx(np.round(twelfths), abs=1e-3)
    assert metrics['accuracy/top1'] <= metrics['accuracy/top5']

    student = 'configs/rapidnet_slim_shapescls.py'
    options = (f'model.teacher.checkpoint={teacher / "iter_2.pth"}', *QUICK)
    done = fork_tool(
        'train.py', student, *data, tmp_path / 'student', '--cfg-options', *options
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert 'loss_dist' in done.stdout
