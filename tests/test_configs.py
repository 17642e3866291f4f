"""Every config parses, builds, takes one training step and predicts."""

import numpy as np
import pytest
import torch
import yaml
from conftest import REPO
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DefaultScope, init_default_scope
from mmengine.runner import Runner

from mmrapidnet import data
from mmrapidnet.engine.config import load_config

CONFIGS = sorted(path.name for path in (REPO / 'configs').glob('*.py'))
CHANNELS = {
    'ti': [32, 64, 112, 224],
    's': [32, 64, 112, 224],
    'm': [32, 64, 160, 320],
    'b': [64, 128, 224, 416],
}
# DESIGN.md's table of rates: zeros up to the first global block of stage 3.
DROP_PATH = {
    'ti': [0.0] * 11 + [0.0067, 0.0133, 0.0133, 0.0133, 0.02],
    's': [0.0] * 16 + [0.0043, 0.0087] + [0.013] * 4 + [0.0174, 0.0217],
}
RECIPES = [name for name in CONFIGS if 'coco' in name or 'ade20k' in name]


def load(name: str) -> Config:
    return load_config(str(REPO / 'configs' / name))


def arch_of(name: str) -> str:
    return name.split('_')[2]


def synthetic_batch(scope: str, num_classes: int, size: int = 96) -> dict:
    rng = np.random.RandomState(0)
    if scope == 'mmdet':
        from mmdet.testing import demo_mm_inputs

        return demo_mm_inputs(
            2,
            [[3, size, size]] * 2,
            num_items=[3, 2],
            num_classes=num_classes,
            with_mask=True,
        )
    from mmengine.structures import PixelData
    from mmseg.structures import SegDataSample

    samples = []
    for _ in range(2):
        labels = torch.from_numpy(rng.randint(0, num_classes, (1, size, size)))
        sample = SegDataSample(gt_sem_seg=PixelData(data=labels))
        shape = (size, size)
        sample.set_metainfo(
            dict(
                img_shape=shape,
                ori_shape=shape,
                pad_shape=shape,
                scale_factor=(1.0, 1.0),
            )
        )
        samples.append(sample)
    images = [
        torch.from_numpy(rng.randint(0, 255, (3, size, size), dtype=np.uint8))
        for _ in range(2)
    ]
    return dict(inputs=images, data_samples=samples)


@pytest.mark.parametrize('name', CONFIGS)
def test_builds_trains_and_predicts(name):
    cfg = load(name)
    init_default_scope(cfg.default_scope)
    library = __import__(f'{cfg.default_scope}.registry', fromlist=['MODELS'])
    torch.manual_seed(0)
    if cfg.default_scope == 'mmseg':
        cfg.model.data_preprocessor.size = (96, 96)
    model = library.MODELS.build(cfg.model)
    model.init_weights()
    assert type(model.backbone).__name__ == 'RapidNet'
    assert list(model.backbone.out_channels) == CHANNELS[arch_of(name)]
    if cfg.default_scope == 'mmdet':
        num_classes = cfg.model.roi_head.bbox_head.num_classes
    else:
        num_classes = cfg.model.decode_head.num_classes

    optim_wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    model.train()
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    batch = synthetic_batch(cfg.default_scope, num_classes)
    log = model.train_step(batch, optim_wrapper)
    assert log['loss'].isfinite() and log['loss'] > 0
    untouched = [n for n, p in model.named_parameters() if torch.equal(before[n], p)]
    assert untouched == []

    model.eval()
    with torch.no_grad():
        predictions = model.test_step(synthetic_batch(cfg.default_scope, num_classes))
    assert len(predictions) == 2
    if cfg.default_scope == 'mmdet':
        found = predictions[0].pred_instances
        assert found.masks.shape == (len(found.bboxes), 96, 96)
    else:
        assert predictions[0].seg_logits.data.shape == (num_classes, 96, 96)
        assert predictions[0].pred_sem_seg.data.shape == (1, 96, 96)


@pytest.mark.parametrize('name', RECIPES)
def test_recipe(name):
    """DESIGN.md, "Dense recipes"."""
    cfg = load(name)
    arch = arch_of(name)
    backbone = cfg.model.backbone
    assert backbone.arch == arch
    assert cfg.model.neck.in_channels == CHANNELS[arch]
    assert cfg.model.neck.out_channels == 256
    assert backbone.drop_path_rate == DROP_PATH.get(arch, DROP_PATH['s'])
    # Batch normalisation trains, across processes.
    assert backbone.norm_cfg == dict(type='SyncBN')
    assert not backbone.get('norm_eval', False)
    assert backbone.get('frozen_stages', -1) == -1
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
        assert (poly.power, poly.eta_min, poly.end) == (0.9, 0.0, 40000)
        assert cfg.auto_scale_lr.base_batch_size == 32
        assert cfg.model.decode_head.num_classes == 150
        kinds = [step.type for step in cfg.test_dataloader.dataset.pipeline]
        assert kinds[1:3] == ['Resize', 'ResizeToMultiple']
        assert cfg.test_dataloader.dataset.pipeline[2].size_divisor == 32


@pytest.mark.parametrize('name', CONFIGS)
def test_plugin_names(name):
    imports = load(name).custom_imports
    assert imports['imports'] == ['mmrapidnet', 'mmrapidnet.compat.on']
    assert imports['allow_failed_imports'] is False


@pytest.mark.parametrize('name', CONFIGS)
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
    listed = [model['Config'] for model in index['Models']]
    assert sorted(listed) == [f'configs/{name}' for name in RECIPES]
    assert [model['Name'] + '.py' for model in index['Models']] == [
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
    cfg = load(name)
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        assert tuple(loader.dataset.metainfo.classes) == tuple(classes)
        assert list(loader.dataset.metainfo.palette) == list(palette)
