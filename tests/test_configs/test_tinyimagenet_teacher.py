"""The teacher of the configs for Tiny-ImageNet, and the students that it has."""

import numpy as np
import pytest
import torch
from helpers.commands import REPO
from helpers.one_step import take_step
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from mmpretrain.structures import DataSample
from torch.nn import functional as F

from dev.benchmark.peers import randomize_norms
from mmrapidnet.config.load import load_config


def load(name: str) -> Config:
    return load_config(str(REPO / 'configs' / f'{name}.py'))


@pytest.fixture(scope='module')
def timm_model():
    """The teacher as timm builds it, with weights that tell images apart."""
    import timm

    torch.manual_seed(0)
    model = timm.create_model('tf_efficientnet_lite0')
    return randomize_norms(model, seed=5).eval()


@pytest.fixture(scope='module')
def weights(timm_model, tmp_path_factory):
    """A file of them under other names."""
    state = timm_model.state_dict()
    path = tmp_path_factory.mktemp('teacher') / 'efficientnet_lite0.pth'
    torch.save({f'_{name}': value for name, value in state.items()}, path)
    return path


def build(name: str, weights) -> torch.nn.Module:
    cfg = load(name)
    init_default_scope(cfg.default_scope)
    cfg.model.teacher.checkpoint = str(weights)
    torch.manual_seed(0)
    model = MODELS.build({**cfg.model, 'data_preprocessor': cfg.data_preprocessor})
    model.init_weights()
    return model


def batch() -> dict:
    rng = np.random.RandomState(0)
    images = torch.from_numpy(rng.randint(0, 255, (4, 3, 64, 64), dtype=np.uint8))
    samples = [DataSample().set_gt_label(label) for label in (0, 3, 49, 3)]
    return dict(inputs=images, data_samples=samples)


def test_teacher_knows_the_classes_by_these_numbers():
    from timm.data import ImageNetInfo

    numbers = {name: n for n, name in enumerate(ImageNetInfo().label_names())}
    cfg = load('rapidnet_ti_tinyimagenet_distill')
    classes = cfg.train_dataloader.dataset.classes
    assert cfg.model.teacher.classes == [numbers[name] for name in classes]
    assert list(cfg.imagenet_numbers) == classes


def test_logits_of_the_teacher(timm_model, weights):
    model = build('rapidnet_ti_tinyimagenet_distill', weights)
    data = batch()
    prepared = model.data_preprocessor(data, True)['inputs']
    # The images are in BGR, as they are loaded.
    images = (data['inputs'].flip(1).float() - 127) / 128
    images = F.interpolate(images, (160, 160), mode='bicubic', antialias=True)
    with torch.no_grad():
        logits = timm_model(images)
    wanted = logits[:, model.teacher.classes]
    assert wanted.shape == (4, 50)
    error = (model.teacher(prepared) - wanted).abs().max()
    assert error < 1e-4 * wanted.abs().max()


def test_teacher_is_all_that_is_added():
    plain = load('rapidnet_ti_tinyimagenet').to_dict()
    distilled = load('rapidnet_ti_tinyimagenet_distill').to_dict()
    assert plain['model']['head'].pop('distillation') == 'none'
    assert distilled['model']['head'].pop('distillation') == 'hard'
    del distilled['model']['teacher'], distilled['imagenet_numbers']
    for cfg in (plain, distilled):
        cfg.pop('work_dir', None)
    assert distilled == plain


@pytest.mark.parametrize('backbone', ['rapidnet_ti', 'mobilenetv2_x1_4'])
def test_students_learn(backbone, weights):
    name = f'{backbone}_tinyimagenet_distill'
    model, cfg = build(name, weights), load(name)
    assert take_step(model, cfg, batch()) == set()
    model.eval()
    predictions = model.test_step(batch())
    assert [tuple(p.pred_score.shape) for p in predictions] == [(50,)] * 4
