"""The ImageNet recipes, and a tiny run of one: averages, resuming, weights."""

import copy
import re

import numpy as np
import pytest
import torch
from helpers.archs import one_per_family
from helpers.commands import REPO
from helpers.tiny_pretraining import CLASSES, load_tiny, write_images, write_teacher
from mmengine.hooks import Hook
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, init_default_scope
from mmengine.runner import Runner
from mmpretrain.datasets import samplers
from mmpretrain.models.utils.batch_augments import Mixup
from mmpretrain.registry import DATA_SAMPLERS, DATASETS
from timm.data import auto_augment, create_transform, mixup
from timm.data.distributed_sampler import RepeatAugSampler
from timm.loss import SoftTargetCrossEntropy
from timm.optim import param_groups_weight_decay
from timm.scheduler import CosineLRScheduler
from torchvision import transforms

from dev.model_zoo.classifiers import MODEL_NAMES
from mmrapidnet.apis.options import accumulate
from mmrapidnet.apis.train import train
from mmrapidnet.checkpoints import load_pretrained
from mmrapidnet.checkpoints.convert.convert import convert_checkpoint
from mmrapidnet.checkpoints.safe_load.load import load as load_file
from mmrapidnet.config.load import load_config
from mmrapidnet.datasets.check.precheck import check_datasets
from mmrapidnet.utils.errors import UserError

FIRST = ('rapidnet_ti', 'mobilevig_ti', 'repvit_m0_9')
RATES = {
    'rapidnet_ti': [0.0] * 11 + [0.0067, 0.0133, 0.0133, 0.0133, 0.02],
    **dict.fromkeys(
        ('rapidnet_s', 'rapidnet_m', 'rapidnet_b'),
        [0.0] * 16 + [0.0043, 0.0087] + [0.013] * 4 + [0.0174, 0.0217],
    ),
    **{name: 0.1 for name in MODEL_NAMES if name.startswith('mobilevig')},
}


def load(name: str):
    return load_config(str(REPO / 'configs' / f'{name}_in1k.py'))


def build_model(cfg):
    init_default_scope('mmpretrain')
    return MODELS.build({**cfg.model, 'data_preprocessor': cfg.data_preprocessor})


@pytest.mark.parametrize('name', one_per_family(MODEL_NAMES))
def test_recipe(name):
    cfg, repvit = load(name), name.startswith('repvit')
    assert cfg.model.backbone.get('drop_path_rate', 0.0) == RATES.get(name, 0.0)
    assert cfg.train_cfg.max_epochs == 300
    wrapper = cfg.optim_wrapper
    assert wrapper.type == 'AmpOptimWrapper'
    assert wrapper.optimizer.to_dict() == dict(
        type='AdamW',
        lr=1e-3 if repvit else 2e-3,
        weight_decay=0.025 if repvit else 0.05,
    )
    assert cfg.auto_scale_lr == dict(
        enable=True, base_batch_size=512 if repvit else 1024
    )
    schedule = cfg.param_scheduler
    assert (schedule.warmup, schedule.warmup_lr, schedule.eta_min) == (
        5 if repvit else 20,
        1e-6,
        1e-5,
    )
    ema, *others = cfg.custom_hooks
    assert 1 - ema.momentum == pytest.approx(0.99996)
    assert ema.update_buffers
    clipping = dict(type='AdaptiveGradientClippingHook', clip_factor=0.02)
    assert others == ([clipping] if repvit else [])
    assert cfg.sync_bn == (None if repvit else 'torch')
    assert (cfg.model.head.distillation, cfg.model.head.alpha) == ('hard', 0.5)
    assert (cfg.model.teacher.model_name, cfg.model.teacher.checkpoint) == (
        'regnety_160',
        None,
    )
    loader = cfg.train_dataloader
    assert loader.sampler == dict(type='RepeatAugSampler', shuffle=True, num_repeats=3)
    assert loader.drop_last
    assert cfg.val_dataloader == cfg.test_dataloader
    assert cfg.val_evaluator.topk == (1, 5)


@pytest.mark.parametrize('name', FIRST)
@pytest.mark.parametrize(
    ('batch', 'processes', 'parts'),
    [(128, 8, 1), (256, 2, 1), (64, 1, 4), (32, 4, 16)],
)
def test_rate_follows_the_images_of_a_step(name, batch, processes, parts, tmp_path):
    cfg = load(name)
    cfg.train_dataloader.batch_size = batch
    accumulate(cfg, parts)
    runner = Runner(
        model=torch.nn.Linear(2, 2),
        work_dir=str(tmp_path),
        train_dataloader=cfg.train_dataloader,
        train_cfg=cfg.train_cfg,
        optim_wrapper=cfg.optim_wrapper,
        auto_scale_lr=cfg.auto_scale_lr,
        experiment_name=tmp_path.name,
    )
    runner._world_size = processes
    wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
    runner.scale_lr(wrapper, runner.auto_scale_lr)
    # The published code: 2e-3 / 1024 per image, for RepViT 1e-3 / 512.
    images = batch * processes * parts
    (rate,) = {group['lr'] for group in wrapper.optimizer.param_groups}
    assert rate == pytest.approx(1e-3 * images / 512)


@pytest.mark.parametrize('name', [*FIRST, 'ablations/rapidnet_ti_deformable'])
def test_weight_decay_name_by_name(name):
    cfg = load(name)
    model = build_model(cfg)
    decay = cfg.optim_wrapper.optimizer.weight_decay
    wrapper = build_optim_wrapper(model, copy.deepcopy(cfg.optim_wrapper))
    names = {id(p): name for name, p in model.named_parameters()}
    found = {
        names[id(p)]: group['weight_decay']
        for group in wrapper.optimizer.param_groups
        for p in group['params']
    }
    assert found == {
        name: 0.0 if p.ndim == 1 or name.endswith('.bias') else decay
        for name, p in model.named_parameters()
    }
    published = param_groups_weight_decay(model, decay)
    assert found == {
        names[id(p)]: group['weight_decay']
        for group in published
        for p in group['params']
    }


def test_weight_decay_of_rapidnet_ti():
    """What the rule comes to: 16 blocks, 4 of them global, 3 downsamplings."""
    cfg = load('rapidnet_ti')
    model = build_model(cfg)
    wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    decayed = {
        id(p)
        for group in wrapper.optimizer.param_groups
        if group['weight_decay'] > 0
        for p in group['params']
    }
    names = [name for name, p in model.named_parameters() if id(p) in decayed]
    scales = [name for name in names if name.endswith('.scale')]
    assert len(scales) == 12 + 2 * 4
    # Stem 2, downsampling 3, local blocks 3 each, global ones 5 + 3, the head 3.
    assert len(names) - len(scales) == 2 + 3 + 12 * 3 + 4 * 8 + 3
    kinds = {name.rpartition('.')[2] for name in names}
    assert kinds == {'scale', 'weight'}
    assert not any('.norm.' in name for name in names)


@pytest.mark.parametrize('rank', range(3))
def test_repeated_augmentation(rank, monkeypatch):
    """Three processes see the same images, a third of them an epoch, as timm's do."""
    monkeypatch.setattr(samplers.repeat_aug, 'get_dist_info', lambda: (rank, 3))
    sampler = DATA_SAMPLERS.build(
        dict(**load('rapidnet_ti').train_dataloader.sampler, seed=0),
        default_args=dict(dataset=range(60)),
    )
    published = RepeatAugSampler(range(60), num_replicas=3, rank=rank, num_repeats=3)
    epochs = []
    for epoch in range(3):
        sampler.set_epoch(epoch)
        published.set_epoch(epoch)
        assert list(sampler) == list(published)
        epochs.append(list(sampler))
        assert len(sampler) == len(set(epochs[-1])) == 20
    assert len({tuple(sorted(epoch)) for epoch in epochs}) == 3
    order = torch.randperm(60, generator=torch.Generator().manual_seed(0))
    assert epochs[0] == order[:20].tolist()


def test_repeated_augmentation_in_one_process():
    sampler = DATA_SAMPLERS.build(
        dict(**load('rapidnet_ti').train_dataloader.sampler, seed=0),
        default_args=dict(dataset=range(12)),
    )
    order = torch.randperm(12, generator=torch.Generator().manual_seed(0)).tolist()
    assert list(sampler) == [i for i in order[:4] for _ in range(3)]


def test_targets_are_timms():
    """Mixed up, then smoothed: the loss of the class output."""
    torch.manual_seed(0)
    logits, labels = torch.randn(4, 10), torch.tensor([1, 2, 3, 9])
    init_default_scope('mmpretrain')
    loss = MODELS.build(load('rapidnet_ti').model.head.loss)
    scores = 0.7 * torch.eye(10)[labels] + 0.3 * torch.eye(10)[labels.flip(0)]
    target = mixup.mixup_target(labels, 10, lam=0.7, smoothing=0.1)
    wanted = SoftTargetCrossEntropy()(logits, target)
    assert torch.allclose(loss(logits, scores), wanted)


def test_mixup_and_cutmix_take_turns():
    cfg = load('rapidnet_ti')
    augments = build_model(cfg).data_preprocessor.batch_augments
    found = {type(one).__name__: one.alpha for one in augments.augments}
    assert found == {'Mixup': 0.8, 'CutMix': 1.0}
    assert augments.probs is None
    assert isinstance(augments.augments[0], Mixup)


@pytest.mark.parametrize('name', FIRST)
def test_augmentation_is_timms(name):
    """The same operations, number, strength and erasing; and no colour jitter."""
    interpolation = 'bicubic' if name.startswith('repvit') else 'random'
    published = create_transform(
        224,
        is_training=True,
        color_jitter=0.4,
        auto_augment='rand-m9-mstd0.5-inc1',
        interpolation=interpolation,
        re_prob=0.25,
        re_mode='pixel',
        re_count=1,
    ).transforms
    assert not any(isinstance(t, transforms.ColorJitter) for t in published)
    (theirs,) = (t for t in published if isinstance(t, auto_augment.RandAugment))

    init_default_scope('mmpretrain')
    cfg = load(name)
    dataset = DATASETS.build(
        dict(
            type='CustomDataset',
            data_root='.',
            lazy_init=True,
            pipeline=cfg.train_dataloader.dataset.pipeline,
        )
    )
    _, crop, flip, augment, erasing, _ = dataset.pipeline.transforms
    crops, augments = [crop], [augment]
    if interpolation == 'random':
        crops = [one.transforms[0] for one in crop.transforms]
        augments = [one.transforms[0] for one in augment.transforms]
    kinds = ['bilinear', 'bicubic'] if interpolation == 'random' else ['bicubic']
    assert [one.interpolation for one in crops] == kinds
    assert {(one.scale, one.backend) for one in crops} == {((224, 224), 'pillow')}
    assert flip.prob == 0.5
    assert [one.hparams['interpolation'] for one in augments] == kinds
    for ours in augments:
        assert (
            (ours.num_policies, ours.magnitude_level, ours.magnitude_std)
            == (
                theirs.num_layers,
                theirs.ops[0].magnitude,
                theirs.ops[0].magnitude_std,
            )
            == (2, 9, 0.5)
        )
        assert len(ours.transforms) == len(theirs.ops) == 15
        assert {one.prob for one in ours.transforms} == {theirs.ops[0].prob} == {0.5}
    (their_erasing,) = (t for t in published if hasattr(t, 'per_pixel'))
    assert (erasing.erase_prob, erasing.mode) == (their_erasing.probability, 'rand')
    assert (erasing.min_area_ratio, erasing.max_area_ratio) == (
        their_erasing.min_area,
        their_erasing.max_area,
    )


@pytest.fixture(scope='module', params=['folders', 'list'])
def both_layouts(request, tmp_path_factory):
    return write_images(tmp_path_factory.mktemp('images'), request.param)


@pytest.fixture(scope='module')
def images(tmp_path_factory):
    return write_images(tmp_path_factory.mktemp('images'), 'folders')


def test_both_layouts(both_layouts, tmp_path):
    cfg = load_tiny(tmp_path, both_layouts)
    check_datasets(cfg, ['train_dataloader', 'val_dataloader'])
    init_default_scope('mmpretrain')
    for name, count in (('train', 12), ('val', 6)):
        dataset = DATASETS.build(cfg[f'{name}_dataloader'].dataset)
        labels = dataset.get_gt_labels().tolist()
        assert len(dataset) == count
        assert sorted(labels) == sorted(i % 6 for i in range(count))
        sample = dataset[0]
        colour = CLASSES[sample['data_samples'].gt_label.item()]
        assert sample['inputs'].shape == (3, 224, 224)
        if name == 'val':
            wanted = dict(blue=(255, 0, 0), cyan=(255, 255, 0))[colour]
            mean = sample['inputs'].float().mean((1, 2)).numpy()
            assert np.abs(mean - wanted).max() < 30


def test_folder_that_is_not_there(images, tmp_path):
    cfg = load_tiny(tmp_path, images)
    cfg.train_dataloader.dataset.split = 'test'
    with pytest.raises(UserError, match=r'test is missing; expected there: one folder'):
        train(cfg)
    cfg = load_tiny(tmp_path, tmp_path / 'nowhere')
    message = (
        r'no data set at \S+nowhere/: \S+nowhere/train is missing; expected there: one '
        r'folder per class, or all images and \S*nowhere/meta/train.txt beside it; '
        'give the folder with --data-root'
    )
    with pytest.raises(UserError, match=message):
        train(cfg)


def test_teacher_that_is_not_there(images, tmp_path):
    """Said before anything is built."""
    cfg = load_tiny(tmp_path, images)
    message = (
        r'the teacher \(ImageClassifier\) has no weights: give their file with '
        '--cfg-options model.teacher.checkpoint=FILE, or train without a teacher with '
        '--cfg-options model.head.distillation=none'
    )
    with pytest.raises(UserError, match=message):
        train(cfg)
    cfg.model.teacher.checkpoint = 'nowhere.pth'
    message = r'the teacher \(ImageClassifier\) has no file nowhere.pth'
    with pytest.raises(UserError, match=message):
        train(cfg)
    assert not (tmp_path / 'run').exists()


@pytest.fixture(scope='module')
def trained(images, tmp_path_factory):
    """The config of a run of two epochs with a teacher, and its last checkpoint."""
    folder = tmp_path_factory.mktemp('tiny')
    cfg = load_tiny(folder, images, **{'custom_hooks.0.momentum': 0.2})
    teacher = write_teacher(cfg, folder / 'teacher.pth')
    cfg.model.teacher.checkpoint = str(teacher)
    metrics = train(copy.deepcopy(cfg))
    assert set(metrics) == {'accuracy/top1', 'accuracy/top5'}
    return cfg, folder / 'run' / 'epoch_2.pth'


def test_checkpoint_holds_the_average_and_the_weights(trained):
    cfg, path = trained
    content = load_file(path)
    average, raw = content['state_dict'], content['ema_state_dict']
    assert raw['steps'] == 6
    assert set(raw) == {'steps', *(f'module.{name}' for name in average)}
    assert set(average) == set(build_model(cfg).state_dict())
    different = [
        name
        for name, value in average.items()
        if value.is_floating_point() and not torch.equal(value, raw[f'module.{name}'])
    ]
    floats = [name for name, value in average.items() if value.is_floating_point()]
    # Of running statistics, too.
    assert different == floats
    assert any('running_var' in name for name in floats)
    optimized = content['optimizer']['state']
    assert len(optimized) == len(list(build_model(cfg).parameters()))


def test_average_by_hand(images, tmp_path):
    """Weights and running statistics of three steps, averaged with momentum 0.2."""
    cfg = load_tiny(tmp_path, images, **{'custom_hooks.0.momentum': 0.2})
    cfg.model.head.distillation = 'none'
    cfg.train_cfg.max_epochs = 1
    cfg.param_scheduler.warmup = 0
    steps = []

    class Keep(Hook):
        def after_train_iter(self, runner, *args, **kwargs) -> None:
            steps.append(copy.deepcopy(runner.model.state_dict()))

    runner = Runner.from_cfg(cfg)
    runner.register_hook(Keep())
    runner.train()
    (hook,) = (h for h in runner.hooks if type(h).__name__ == 'EMAHook')
    average = hook.ema_model.module.state_dict()
    assert len(steps) == 3
    for name in ('backbone.stem.0.conv.weight', 'backbone.stem.0.norm.running_mean'):
        first, second, third = (step[name] for step in steps)
        wanted = 0.8 * (0.8 * first + 0.2 * second) + 0.2 * third
        assert torch.allclose(average[name], wanted, atol=1e-6)
        assert not torch.allclose(average[name], third, atol=1e-6)


def test_resuming_restores_everything(trained, tmp_path):
    cfg, path = trained
    cfg = copy.deepcopy(cfg)
    cfg.update(resume=True, load_from=str(path), work_dir=str(tmp_path))
    cfg.experiment_name = tmp_path.name
    runner = Runner.from_cfg(cfg)
    # Both epochs are over, so nothing is trained.
    runner.train()
    content = load_file(path)
    (hook,) = (h for h in runner.hooks if type(h).__name__ == 'EMAHook')
    average = hook.ema_model.state_dict()
    assert average['steps'] == content['ema_state_dict']['steps'] == 6
    for name, value in runner.model.state_dict().items():
        assert torch.equal(average[f'module.{name}'], content['state_dict'][name])
        assert torch.equal(value, content['ema_state_dict'][f'module.{name}'])
    assert not runner.model.teacher.model.training
    state = runner.optim_wrapper.state_dict()['state']
    for index, kept in content['optimizer']['state'].items():
        assert torch.equal(state[index]['exp_avg'], kept['exp_avg'])
    (scheduler,) = runner.param_schedulers
    assert scheduler.last_step == content['param_schedulers'][0]['last_step'] == 1
    assert (runner.epoch, runner.iter) == (2, 6)


def test_resumed_run_goes_on(trained, tmp_path):
    cfg, path = trained
    cfg = copy.deepcopy(cfg)
    cfg.update(resume=True, load_from=str(path), work_dir=str(tmp_path))
    cfg.experiment_name = tmp_path.name
    cfg.train_cfg.max_epochs = 3
    train(cfg)
    content = load_file(tmp_path / 'epoch_3.pth')
    assert content['ema_state_dict']['steps'] == 9
    assert (content['meta']['epoch'], content['meta']['iter']) == (3, 9)


def test_rates_of_a_run(trained):
    """As logged: those of timm's scheduler, for half the images of the base."""
    path = trained[1]
    log = next(path.parent.glob('*/*.log')).read_text()
    logged = re.findall(r'Epoch\(train\) +\[(\d)\].*? lr: ([\d.e+-]+)', log)
    optimizer = torch.optim.AdamW([torch.zeros(1)], lr=2e-3 * 4 / 8)
    published = CosineLRScheduler(
        optimizer, t_initial=2, lr_min=1e-5, warmup_t=1, warmup_lr_init=1e-6
    )
    assert [int(epoch) for epoch, _ in logged] == [1, 1, 1, 2, 2, 2]
    for epoch, rate in logged:
        published.step(int(epoch) - 1)
        assert float(rate) == pytest.approx(optimizer.param_groups[0]['lr'], rel=1e-3)


def test_dense_models_start_from_the_average(trained):
    cfg, path = trained
    backbone = {**cfg.backbone, 'out_indices': (0, 1, 2, 3)}
    model = MODELS.build(
        dict(**backbone, init_cfg=dict(type='Pretrained', checkpoint=str(path)))
    )
    model.init_weights()
    average = load_file(path)['state_dict']
    for name, value in model.state_dict().items():
        assert torch.equal(value, average[f'backbone.{name}'])
    dropped = load_pretrained(model, str(path))
    assert dropped == sorted(name for name in average if name.startswith('head.'))


def test_converter_knows_its_own_names(trained, tmp_path):
    with pytest.raises(UserError, match="mmrapidnet's names already; nothing to conv"):
        convert_checkpoint(trained[1], tmp_path / 'converted.pth')
