"""Every Mask R-CNN and Semantic FPN builds, takes one training step and predicts."""

from collections.abc import Collection
from functools import cache, partial

import pytest
import torch
import yaml
from helpers.archs import one_per_family
from helpers.commands import REPO
from helpers.one_step import SMALL, synthetic_batch, take_step
from mmengine.config import Config
from mmengine.registry import DefaultScope, init_default_scope
from mmengine.runner import Runner

from mmrapidnet.apis.shapes import point_at_shapes
from mmrapidnet.config.load import load_config
from mmrapidnet.datasets import shapes as data

# Others are in the files of tests beside this one, SAM in those of its model.
CONFIGS = sorted(
    path.name
    for path in (REPO / 'configs').glob('*.py')
    if path.name.startswith(('maskrcnn_', 'semfpn_'))
    and not path.name.startswith('semfpn_lite_')
)
CHANNELS = {
    'rapidnet': {
        'ti': [32, 64, 112, 224],
        's': [32, 64, 112, 224],
        'm': [32, 64, 160, 320],
        'b': [64, 128, 224, 416],
    },
    'repvit': {
        'm0_6': [40, 80, 160, 320],
        'm0_9': [48, 96, 192, 384],
        'm1_1': [64, 128, 256, 512],
        'm1_5': [64, 128, 256, 512],
        'm2_3': [80, 160, 320, 640],
    },
    'mobilevig': {
        'ti': [42, 84, 168, 256],
        'm': [42, 84, 224, 400],
        'b': [42, 84, 240, 464],
    },
    # 1.4 times 24, 32, 96 and 320, rounded to multiples of 8.
    'mobilenetv2': {'x1_4': [32, 48, 136, 448]},
}
# The published rates: zeros up to the first global block of stage 3.
DROP_PATH = {
    'ti': [0.0] * 11 + [0.0067, 0.0133, 0.0133, 0.0133, 0.02],
    's': [0.0] * 16 + [0.0043, 0.0087] + [0.013] * 4 + [0.0174, 0.0217],
}
RECIPES = [name for name in CONFIGS if 'coco' in name or 'ade20k' in name]
FOR_PHONES = ('rtmdet_ins_rapidnet_ti_coco.py', 'semfpn_lite_rapidnet_ti_ade20k.py')
# Those of a task and a data set are compared with each other.
COMPARED = [
    name
    for name in CONFIGS
    if name.endswith(('_shapes.py', '_camvid.py', '_nuclei.py'))
]
# One of them for each data set of real images.
ON_REAL_IMAGES = ('semfpn_rapidnet_ti_camvid.py', 'maskrcnn_rapidnet_ti_nuclei.py')
# Shapes changes the heads, which are the same for all backbones.
ON_SHAPES = ('maskrcnn_rapidnet_ti_coco.py', 'semfpn_rapidnet_ti_ade20k.py')
# A task has the same schedule and hooks on every backbone.
WHOLE_RUNS = (
    *ON_SHAPES,
    'maskrcnn_rapidnet_ti_shapes.py',
    'semfpn_rapidnet_ti_shapes.py',
    *ON_REAL_IMAGES,
)
# tests/test_tools/test_own_data.py trains those for one's own data.
TO_BUILD = [
    name
    for name in one_per_family(CONFIGS)
    if isinstance(name, str)
    and not name.endswith(('_custom.py', '_camvid.py', '_nuclei.py'))
]


def slow_but(names: list[str], quick: Collection[str]) -> list:
    """Mark as slow all names but some."""
    slow = pytest.mark.slow
    return [n if n in quick else pytest.param(n, marks=slow) for n in names]


def load(name: str) -> Config:
    return load_config(str(REPO / 'configs' / name))


@cache
def read(name: str) -> Config:
    """A config that is looked at and not changed."""
    return load(name)


def load_on_shapes(name: str) -> Config:
    adapt = partial(point_at_shapes, root='data/shapes', configs=REPO / 'configs')
    return load_config(str(REPO / 'configs' / name), adapt=adapt)


def family_of(name: str) -> str:
    return name.split('_')[1]


def arch_of(name: str) -> str:
    return '_'.join(name.removesuffix('.py').split('_')[2:-1])


def channels_of(name: str) -> list[int]:
    return CHANNELS[family_of(name)][arch_of(name)]


def expected_backbone(name: str) -> dict:
    """The backbone of a recipe, to the last argument."""
    arch, sync = arch_of(name), dict(norm_cfg=dict(type='SyncBN'))
    if family_of(name) == 'rapidnet':
        rates = DROP_PATH.get(arch, DROP_PATH['s'])
        return dict(type='RapidNet', arch=arch, drop_path_rate=rates, **sync)
    if family_of(name) == 'mobilevig':
        return dict(type='MobileViG', arch=arch, drop_path_rate=0.1, **sync)
    if family_of(name) == 'mobilenetv2':
        return dict(
            type='mmpretrain.MobileNetV2',
            widen_factor=1.4,
            out_indices=(1, 2, 4, 6),
            **sync,
        )
    # RepViT's batch normalisation is frozen; its detectors tap other blocks.
    return dict(
        type='RepViT',
        arch=arch,
        tap='before_last' if name.startswith('maskrcnn') else 'stage_end',
        norm_cfg=dict(type='BN'),
        norm_eval=True,
    )


def give_statistics(backbone: torch.nn.Module) -> None:
    """Give frozen norms statistics that fit, as pre-trained weights would."""
    backbone.train()
    norms = [m for m in backbone.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    for norm in norms:
        norm.train()
        norm.momentum = 1.0
    with torch.no_grad():
        backbone(torch.randn(2, 3, SMALL, SMALL))
    for norm in norms:
        norm.momentum = 0.1


def assert_builds_trains_and_predicts(cfg: Config) -> torch.nn.Module:
    """Take a step and predict on small images; returns the model."""
    init_default_scope(cfg.default_scope)
    library = __import__(f'{cfg.default_scope}.registry', fromlist=['MODELS'])
    torch.manual_seed(0)
    if cfg.default_scope == 'mmdet':
        num_classes = cfg.model.roi_head.bbox_head.num_classes
        # Few boxes instead of many: of each the same is computed.
        cfg.model.train_cfg.rcnn.sampler.num = 16
        cfg.model.test_cfg.rpn.max_per_img = 20
    else:
        num_classes = cfg.model.decode_head.num_classes
        cfg.model.data_preprocessor.size = (SMALL, SMALL)
    model = library.MODELS.build(cfg.model)
    model.init_weights()
    if cfg.model.backbone.get('norm_eval'):
        give_statistics(model.backbone)

    unused = take_step(model, cfg, synthetic_batch(cfg.default_scope, num_classes))
    assert all(name.startswith('backbone.conv2.') for name in unused)
    # What some processes would wait for without it.
    assert cfg.get('find_unused_parameters', False) == bool(unused)

    model.eval()
    batch = synthetic_batch(cfg.default_scope, num_classes)
    with torch.no_grad():
        predictions = model.test_step(batch)
    assert len(predictions) == 2
    if cfg.default_scope == 'mmdet':
        found = predictions[0].pred_instances
        assert found.masks.shape == (len(found.bboxes), SMALL, SMALL)
    else:
        shape = predictions[0].seg_logits.data.shape
        assert shape == (num_classes, SMALL, SMALL)
        assert predictions[0].pred_sem_seg.data.shape == (1, SMALL, SMALL)
    return model


@pytest.mark.parametrize('name', slow_but(CONFIGS, [*TO_BUILD, *ON_REAL_IMAGES]))
def test_builds_trains_and_predicts(name):
    cfg = load(name)
    model = assert_builds_trains_and_predicts(cfg)
    backbone = model.backbone
    kind = expected_backbone(name)['type'].removeprefix('mmpretrain.')
    assert type(backbone).__name__ == kind
    assert cfg.model.neck.in_channels == channels_of(name)
    with torch.no_grad():
        features = backbone(torch.zeros(1, 3, 64, 96))
    assert [tuple(feature.shape[1:]) for feature in features] == [
        (channels, 64 // stride, 96 // stride)
        for channels, stride in zip(channels_of(name), (4, 8, 16, 32))
    ]


@pytest.mark.parametrize('name', one_per_family(RECIPES))
def test_recipes_on_shapes_have_its_classes(name):
    cfg, shapes = load_on_shapes(name), len(data.CLASSES)
    if cfg.default_scope == 'mmdet':
        heads = (cfg.model.roi_head.bbox_head, cfg.model.roi_head.mask_head)
    else:
        heads, shapes = (cfg.model.decode_head,), len(data.SEG_CLASSES)
    assert [head.num_classes for head in heads] == [shapes] * len(heads)


@pytest.mark.parametrize('name', slow_but(RECIPES, ON_SHAPES))
def test_recipes_train_and_predict_on_shapes(name):
    assert_builds_trains_and_predicts(load_on_shapes(name))


@pytest.mark.parametrize('name', COMPARED)
def test_compared_configs_differ_in_the_backbone_alone(name):
    """What the comparison of a task on a data set rests on."""
    task, data_set = name.split('_')[0], name.split('_')[-1]
    cfg = read(name).to_dict()
    first = read(f'{task}_rapidnet_ti_{data_set}').to_dict()
    backbone, others = cfg['model'].pop('backbone'), first['model'].pop('backbone')
    assert backbone.get('norm_cfg', dict(type='BN')) == dict(type='BN')
    assert not backbone.get('norm_eval', False)
    assert backbone.get('drop_path_rate', 0.0) == others['drop_path_rate']
    assert backbone.get('frozen_stages', -1) == -1
    assert backbone.get('tap', 'stage_end') == 'stage_end'
    if backbone['type'] in ('RapidNet', 'MobileViG'):
        scale = backbone['layer_scale_init_value']
        assert scale == others['layer_scale_init_value']
    assert cfg['model']['neck'].pop('in_channels') == channels_of(name)
    first['model']['neck'].pop('in_channels')
    for key in ('custom_imports', 'find_unused_parameters', 'work_dir'):
        cfg.pop(key, None)
        first.pop(key, None)
    assert cfg == first


@pytest.mark.parametrize('name', RECIPES)
def test_recipe(name):
    """The published recipes; MobileNetV2 has none and takes RapidNet's."""
    cfg = read(name)
    assert cfg.model.backbone.to_dict() == expected_backbone(name)
    assert cfg.model.neck.in_channels == channels_of(name)
    assert cfg.model.neck.out_channels == 256
    optimizer = cfg.optim_wrapper.optimizer
    assert (optimizer.type, optimizer.lr) == ('AdamW', 2e-4)
    assert cfg.optim_wrapper.get('clip_grad') is None
    if cfg.default_scope == 'mmdet':
        assert optimizer.weight_decay == 0.05
        assert cfg.train_cfg.max_epochs == 12
        warm_up, steps = cfg.param_scheduler
        assert (warm_up.start_factor, warm_up.end, warm_up.by_epoch) == (
            1e-6,
            500,
            False,
        )
        assert (steps.milestones, steps.gamma, steps.by_epoch) == ([8, 11], 0.1, True)
        assert cfg.auto_scale_lr.base_batch_size == 16
        assert cfg.model.neck.num_outs == 5
        resize = cfg.train_dataloader.dataset.pipeline[2]
        assert (tuple(resize.scale), resize.keep_ratio) == ((1333, 800), True)
    else:
        assert optimizer.weight_decay == 1e-4
        assert (cfg.train_cfg.type, cfg.train_cfg.max_iters) == (
            'IterBasedTrainLoop',
            40000,
        )
        (poly,) = cfg.param_scheduler
        eta_min = 1e-6 if family_of(name) == 'repvit' else 0.0
        assert (poly.power, poly.eta_min, poly.end) == (0.9, eta_min, 40000)
        assert cfg.auto_scale_lr.base_batch_size == 32
        assert cfg.model.decode_head.num_classes == 150
        kinds = [step.type for step in cfg.test_dataloader.dataset.pipeline]
        assert kinds[1:3] == ['Resize', 'ResizeToMultiple']
        assert cfg.test_dataloader.dataset.pipeline[2].size_divisor == 32


@pytest.mark.parametrize('name', CONFIGS)
def test_plugin_names(name):
    imports = read(name).custom_imports
    names = ['mmrapidnet', 'mmrapidnet.compat.patch_all']
    if family_of(name) == 'mobilenetv2':
        names.append('mmpretrain.models')
    assert imports['imports'] == names
    assert imports['allow_failed_imports'] is False


@pytest.mark.parametrize('name', slow_but(CONFIGS, WHOLE_RUNS))
def test_schedulers_and_hooks_build(name, tmp_path):
    """What a step on synthetic data does not touch: the rest of the run's parts."""
    cfg = load(name)
    init_default_scope(cfg.default_scope)
    model = torch.nn.Linear(1, 1)
    runner = Runner(
        model=model,
        work_dir=str(tmp_path),
        default_scope=cfg.default_scope,
        default_hooks=cfg.default_hooks,
        visualizer=cfg.visualizer,
        train_dataloader=torch.utils.data.DataLoader([0]),
        train_cfg=cfg.train_cfg,
        optim_wrapper=cfg.optim_wrapper,
        param_scheduler=cfg.param_scheduler,
        experiment_name=name,
    )
    wrapper = runner.build_optim_wrapper(cfg.optim_wrapper)
    runner.optim_wrapper = wrapper
    schedulers = runner.build_param_scheduler(cfg.param_scheduler)
    assert len(schedulers) == len(cfg.param_scheduler)
    assert DefaultScope.get_current_instance().scope_name == cfg.default_scope


def test_leaves_are_short():
    """A leaf is a few lines over its bases."""
    for name in RECIPES:
        lines = (REPO / 'configs' / name).read_text().splitlines()
        assert len(lines) <= 16, name


def test_model_index_names_every_recipe():
    index = yaml.safe_load((REPO / 'model-index.yml').read_text())
    models = [
        model
        for path in index['Import']
        for model in yaml.safe_load((REPO / path).read_text())['Models']
    ]
    listed = [model['Config'] for model in models]
    others = (*REPO.glob('configs/*_in1k.py'), *REPO.glob('configs/sam_*.py'))
    recipes = {*listed} - {f'configs/{path.name}' for path in others}
    assert recipes == {f'configs/{name}' for name in (*RECIPES, *FOR_PHONES)}
    assert [model['Name'] + '.py' for model in models] == [
        path.removeprefix('configs/') for path in listed
    ]


@pytest.mark.parametrize(
    ('name', 'classes', 'palette'),
    [
        ('maskrcnn_rapidnet_ti_shapes.py', data.CLASSES, data.PALETTE),
        ('semfpn_rapidnet_ti_shapes.py', data.SEG_CLASSES, data.SEG_PALETTE),
    ],
)
def test_classes_are_those_that_are_drawn(name, classes, palette):
    cfg = read(name)
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        assert tuple(loader.dataset.metainfo.classes) == tuple(classes)
        assert list(loader.dataset.metainfo.palette) == list(palette)
