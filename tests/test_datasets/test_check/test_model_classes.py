"""Heads and data sets with other numbers of classes are refused, by name and number."""

import pytest
from helpers.bad_data import CocoSplit, load
from mmengine.config import Config

from mmrapidnet.datasets.check.heads import heads_of
from mmrapidnet.datasets.check.model_classes import check_model_classes
from mmrapidnet.datasets.check.precheck import check_datasets
from mmrapidnet.datasets.check.run import find_problems
from mmrapidnet.datasets.check.source import Source
from mmrapidnet.datasets.shapes import CLASSES
from mmrapidnet.utils.errors import UserError

TRAIN = ['train_dataloader']
NAMES = tuple('abcdefgh')
THINGS = dict(
    classes=NAMES, thing_classes=list(NAMES[:5]), stuff_classes=list(NAMES[5:])
)


def counts(model, scope='mmdet'):
    return {head.path: head.counts for head in heads_of(dict(model=model), scope)}


def found(model, scope='mmdet', classes=NAMES, **options):
    """What is wrong with a model for a data set of some classes."""
    kinds = dict(mmdet='CocoDataset', mmseg='BaseSegDataset', mmpretrain='ImageNet')
    config = dict(type=kinds[scope], data_root='data', metainfo=dict(classes=classes))
    if scope == 'mmdet':
        config.update(ann_file='a.json')
    source = Source({**config, **options}, scope, False, model=dict(model=model))
    return [problem.detail for problem in check_model_classes(source)]


@pytest.fixture
def cfg(tmp_path):
    split = CocoSplit(tmp_path, 'train')
    split.annotation(split.image('a'))
    split.write()
    return load('detector', tmp_path)


@pytest.mark.parametrize('count', [5, 7])
def test_a_run_stops_before_training(count, cfg, tmp_path):
    check_datasets(cfg, TRAIN)
    cfg.model.roi_head.bbox_head.num_classes = count
    path = tmp_path / 'annotations' / 'instances_train2017.json'
    message = (
        rf'^{path}: model of another number of classes: 6 classes \(disc, square, '
        rf'triangle, star, ...\), but model.roi_head.bbox_head.num_classes={count}; '
    )
    with pytest.raises(UserError, match=message):
        check_datasets(cfg, TRAIN)
    stops = [p.kind for p in find_problems(cfg, TRAIN) if p.stops]
    assert stops == ['model of another number of classes']


@pytest.mark.parametrize(
    'wrap',
    [
        lambda inner: dict(type='RepeatDataset', times=2, dataset=inner),
        lambda inner: dict(type='ConcatDataset', datasets=[inner]),
        lambda inner: dict(
            type='ClassBalancedDataset', oversample_thr=1, dataset=inner
        ),
    ],
)
def test_wrapped_data_sets(wrap, cfg):
    cfg.train_dataloader.dataset = wrap(cfg.train_dataloader.dataset)
    check_datasets(cfg, TRAIN)
    cfg.model.roi_head.mask_head.num_classes = 80
    with pytest.raises(UserError, match=r'model.roi_head.mask_head.num_classes=80;'):
        check_datasets(cfg, TRAIN)


def test_what_a_head_has_by_default(cfg):
    del cfg.model.roi_head.bbox_head['num_classes']
    with pytest.raises(UserError, match=r'bbox_head.num_classes=80 by default; '):
        check_datasets(cfg, TRAIN)


def test_one_name_without_a_comma(cfg, tmp_path):
    cfg.train_dataloader.dataset.metainfo = dict(classes='crack')
    with pytest.raises(UserError, match=r"classes='crack' .* classes=\('crack',\)"):
        check_datasets(cfg, TRAIN)
    (problem,) = find_problems(cfg, TRAIN)
    assert (problem.kind, problem.stops) == ('unusable data set', True)
    # A file of names is what both libraries take a string for.
    names = tmp_path / 'names.txt'
    names.write_text('disc\nsquare\ntriangle\nstar\nring\ncross\n')
    cfg.train_dataloader.dataset.metainfo = dict(classes=str(names))
    check_datasets(cfg, TRAIN)


def test_data_sets_of_a_model_number_classes_alike(cfg, tmp_path):
    """Each is right by itself, but one model cannot learn both."""
    split = CocoSplit(tmp_path, 'val')
    split.annotation(split.image('a'))
    path = split.write()
    cfg.val_dataloader.dataset.metainfo = dict(classes=CLASSES[::-1])
    check_datasets(cfg, TRAIN)
    check_datasets(cfg, ['val_dataloader'])
    message = (
        rf'^{path}: classes in another order: {CLASSES[0]!r} is class 5 of it, but '
        rf'class 0 of {tmp_path}/annotations/instances_train2017.json: give all'
    )
    both = [*TRAIN, 'val_dataloader']
    with pytest.raises(UserError, match=message):
        check_datasets(cfg, both)
    stops = [p.kind for p in find_problems(cfg, both) if p.stops]
    assert stops == ['classes in another order']
    # What has no classes, as a model that is given prompts, has no labels either.
    cfg.model = dict(type='SegmentAnything')
    check_datasets(cfg, both)


def test_proposals_have_classes_of_their_own(cfg):
    cfg.model.rpn_head.num_classes = 1
    check_datasets(cfg, TRAIN)


def test_parts_that_are_not_there(cfg):
    """Models without a backbone, and heads that are None."""
    cfg.model.update(backbone=None, bbox_head=None)
    check_datasets(cfg, TRAIN)
    del cfg.model['backbone']
    check_datasets(cfg, TRAIN)


@pytest.mark.parametrize('count', [8, 80])
@pytest.mark.parametrize(
    ('scope', 'model'),
    [
        ('mmdet', dict(bbox_head=dict(type='RetinaHead', num_classes='N'))),
        ('mmdet', dict(bbox_head=dict(type='mmdet.RTMDetInsHead', num_classes='N'))),
        ('mmdet', dict(bbox_head=dict(type='DINOHead', num_classes='N'))),
        ('mmdet', dict(mask_head=dict(type='SOLOHead', num_classes='N'))),
        (
            'mmdet',
            dict(
                roi_head=dict(
                    type='CascadeRoIHead',
                    bbox_head=[dict(num_classes=8), dict(num_classes='N')],
                )
            ),
        ),
        # Mask2Former for objects.
        (
            'mmdet',
            dict(
                panoptic_head=dict(num_things_classes='N', num_stuff_classes=0),
                panoptic_fusion_head=dict(num_things_classes=8, num_stuff_classes=0),
            ),
        ),
        # In another model, as of a semi-supervised one or of test-time augmentation.
        ('mmdet', dict(detector=dict(bbox_head=dict(num_classes='N')))),
        ('mmdet', dict(module=dict(bbox_head=dict(num_classes='N')))),
        ('mmseg', dict(decode_head=dict(type='FCNHead', num_classes='N'))),
        (
            'mmseg',
            dict(
                decode_head=[dict(num_classes=8), dict(num_classes=8)],
                auxiliary_head=[
                    dict(num_classes='N'),
                    dict(type='STDCHead', num_classes=2),
                ],
            ),
        ),
        ('mmpretrain', dict(head=dict(type='LinearClsHead', num_classes='N'))),
        ('mmpretrain', dict(head=dict(classifier=dict(num_classes='N')))),
        ('mmpretrain', dict(backbone=dict(type='VGG', num_classes='N'))),
        ('mmpretrain', dict(train_cfg=dict(augments=dict(num_classes='N')))),
    ],
)
def test_every_kind_of_head(scope, model, count):
    def fill(node):
        if isinstance(node, dict):
            return {key: fill(item) for key, item in node.items()}
        if isinstance(node, list):
            return [fill(item) for item in node]
        return count if node == 'N' else node

    problems = found(fill(model), scope)
    assert len(problems) == (0 if count == 8 else 1)
    assert all('_classes=80' in problem for problem in problems)


@pytest.mark.parametrize(
    'model',
    [
        dict(backbone=dict(num_classes=1000)),
        dict(
            roi_head=dict(semantic_head=dict(type='FusedSemanticHead', num_classes=183))
        ),
        dict(bbox_head=None, roi_head=dict(bbox_head=None)),
        dict(backbone=dict(type='VGG', num_classes=-1)),
        {},
        None,
    ],
)
def test_what_has_other_classes_or_none(model):
    assert counts(model) == {}


def test_a_panoptic_model():
    """Boxes are of things; all of them are of both."""
    model = dict(
        roi_head=dict(bbox_head=dict(num_classes=5)),
        semantic_head=dict(num_things_classes=5, num_stuff_classes=3),
        panoptic_head=dict(type='MaskFormerHead', num_things_classes=80),
    )
    prefixes = dict(img='', ann='', seg='')
    (problem,) = found(
        model, type='CocoPanopticDataset', metainfo=THINGS, data_prefix=prefixes
    )
    wrong = (
        'model.panoptic_head.num_things_classes=80, '
        'model.panoptic_head.num_stuff_classes=53 by default;'
    )
    assert f'but {wrong}' in problem


def test_data_sets_of_texts_have_no_classes():
    model = dict(bbox_head=dict(num_classes=256))
    assert found(model, return_classes=True) == []
    assert len(found(model)) == 1


def test_what_stands_beside_the_model():
    config = dict(
        type='ImageNet', data_root='data', metainfo=dict(classes=['a', 'b', 'c'])
    )
    beside = dict(model=None, data_preprocessor=dict(num_classes=1000))
    source = Source(config, 'mmpretrain', False, model=beside)
    (problem,) = check_model_classes(source)
    assert 'but data_preprocessor.num_classes=1000;' in problem.detail
    # Tests do without it.
    tested = Source(config, 'mmpretrain', True, model=beside)
    assert list(check_model_classes(tested)) == []


@pytest.mark.parametrize(
    ('config', 'paths'),
    [
        (
            'mmdet::panoptic_fpn/panoptic-fpn_r50_fpn_1x_coco.py',
            {'roi_head.bbox_head', 'roi_head.mask_head', 'semantic_head'}
            | {'panoptic_fusion_head'},
        ),
        (
            'mmdet::htc/htc_r50_fpn_1x_coco.py',
            {
                f'roi_head.{kind}_head[{i}]'
                for kind in ('bbox', 'mask')
                for i in range(3)
            },
        ),
        pytest.param(
            'mmdet::detr/detr_r50_8xb2-150e_coco.py',
            {'bbox_head'},
            marks=pytest.mark.slow,
        ),
        ('mmseg::stdc/stdc1_4xb12-80k_cityscapes-512x1024.py', None),
    ],
)
def test_the_libraries_own_configs(config, paths):
    """They fit their data sets."""
    cfg = Config.fromfile(_path_of(config))
    scope = cfg.default_scope
    model = dict(model=cfg.model)
    source = Source(cfg.train_dataloader.dataset, scope, False, model=model)
    assert list(check_model_classes(source)) == []
    assert source.heads
    if paths:
        assert {head.path for head in source.heads} == {f'model.{p}' for p in paths}


def _path_of(config):
    from mmengine.config.utils import _get_cfg_metainfo, _get_package_and_cfg_path
    from mmengine.utils import get_installed_path

    package, path = _get_package_and_cfg_path(config)
    root = get_installed_path(package)
    return f'{root}/.mim/{_get_cfg_metainfo(root, path)["Config"]}'
