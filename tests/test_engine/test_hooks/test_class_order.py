"""A model meets only data that number the classes as it learnt them."""

from types import SimpleNamespace

import pytest
import torch
from helpers.tiny_models import load, write_checkpoint
from mmengine.config import Config

from mmrapidnet.apis.test import test as run_test
from mmrapidnet.engine.hooks.class_order import ClassOrderHook
from mmrapidnet.utils.errors import UserError

NAMES = ('cat', 'dog', 'cow')
HEAD = dict(bbox_head=dict(num_classes=3))


def compare(names, classes, model=HEAD, **options):
    """Start both kinds of run on a data set of some classes."""
    dataset = SimpleNamespace(metainfo=dict(classes=classes), **options)
    loader = SimpleNamespace(dataset=dataset)
    runner = SimpleNamespace(
        cfg=Config(dict(model=model, default_scope='mmdet')),
        train_dataloader=loader,
        test_dataloader=loader,
    )
    hook = ClassOrderHook(dict(classes=names), 'w.pth')
    hook.before_test(runner)
    hook.before_train(runner)


def test_names_in_another_order():
    with pytest.raises(
        UserError,
        match='^w.pth was trained with dog as class 1, which is class 2 of the data '
        'set: give `classes` in the config as cat, dog, cow$',
    ):
        compare(NAMES, ('cat', 'cow', 'dog'))


@pytest.mark.parametrize(
    'classes', [NAMES, ('cat', 'hound', 'cow'), ('cat', 'dog'), (), None]
)
def test_names_in_the_same_order(classes):
    compare(NAMES, classes)
    compare(classes, NAMES)


def test_names_that_two_classes_have():
    """As ImageNet's crane: a bird and a machine."""
    compare(('crane', 'cat', 'crane'), ('crane', 'cat', 'crane, machine'))


def test_models_without_an_order():
    """Those that are given prompts or texts."""
    compare(NAMES, NAMES[::-1], dict(type='SegmentAnything'))
    compare(NAMES, NAMES[::-1], return_classes=True)


def test_a_checkpoint_of_another_order(shapes_root, tmp_path):
    cfg = load('segmenter', tmp_path, shapes_root / 'ade')
    path = write_checkpoint(cfg, tmp_path / 'w.pth')
    content = torch.load(path)
    names = cfg.test_dataloader.dataset.metainfo.classes
    content['meta'] = dict(dataset_meta=dict(classes=names[::-1]))
    torch.save(content, path)
    cfg.work_dir = str(tmp_path / 'run')
    with pytest.raises(UserError, match='trained with cross as class 0, .* class 6 of'):
        run_test(cfg, str(path))
