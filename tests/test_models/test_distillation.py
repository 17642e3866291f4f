"""A teacher beside the model that learns from it."""

from copy import deepcopy

import numpy as np
import pytest
import torch
from helpers.tiny_teacher import (
    BACKBONE,
    IMAGENET,
    TEACHER,
    batch,
    build,
    train_step,
)
from mmengine.model import ExponentialMovingAverage
from mmengine.registry import MODELS
from mmpretrain.models.classifiers import ImageClassifier
from PIL import Image
from torch.nn import functional as F

from mmrapidnet.deploy import fuse
from mmrapidnet.models.classifiers import DistilledImageClassifier
from mmrapidnet.utils.errors import UserError

pytestmark = pytest.mark.usefixtures('mmpretrain_scope')


def test_gradients_reach_the_student_alone(weights):
    model = build(weights)
    teacher = model.teacher.model
    before = deepcopy(teacher.state_dict())
    student = {name: p.detach().clone() for name, p in model.named_parameters()}
    _, log = train_step(model)
    assert log['loss'].item() == pytest.approx(
        (log['loss_cls'] + log['loss_dist']).item()
    )
    assert all(p.grad is None for p in teacher.parameters())
    assert not any(p.requires_grad for p in teacher.parameters())
    # Neither weights nor running statistics.
    after = teacher.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    changed = dict(model.named_parameters())
    assert [n for n in student if torch.equal(student[n], changed[n])] == []


def test_teacher_is_no_part_of_the_model(weights):
    model = build(weights)
    plain = ImageClassifier(BACKBONE, head=TEACHER['head'])
    assert list(model.state_dict()) == list(plain.state_dict())
    theirs = {id(p) for p in model.teacher.model.parameters()}
    assert not theirs & {id(p) for p in model.parameters()}
    wrapper, _ = train_step(model)
    optimized = {id(p) for g in wrapper.optimizer.param_groups for p in g['params']}
    assert optimized == {id(p) for p in model.parameters()}


def test_moving_average_shares_the_teacher(weights):
    model = build(weights)
    average = ExponentialMovingAverage(model, momentum=0.5, update_buffers=True)
    assert average.module.teacher is model.teacher
    assert {name.removeprefix('module.') for name in average.state_dict()} == {
        *model.state_dict(),
        'steps',
    }
    assert fuse(model.eval()).teacher is model.teacher


def test_teacher_stays_in_evaluation(weights):
    model = build(weights)
    for part in (model.train(), model.eval().train()):
        assert part.training
        assert not any(m.training for m in model.teacher.model.modules())
    model.init_weights()
    assert not model.teacher.model.training


@pytest.mark.parametrize(
    ('move', 'wanted'),
    [
        (lambda model: model.double(), (torch.float64, 'cpu')),
        (lambda model: model.to(torch.bfloat16), (torch.bfloat16, 'cpu')),
        (lambda model: model.to('meta'), (torch.float32, 'meta')),
    ],
)
def test_teacher_follows(move, wanted, weights):
    model = build(weights, data_preprocessor=IMAGENET)
    move(model)
    tensors = [
        *model.teacher.model.parameters(),
        *model.teacher.model.data_preprocessor.buffers(),
    ]
    assert {(t.dtype, t.device.type) for t in tensors} == {wanted}


def test_teacher_is_built_where_the_student_is(weights):
    model = build(weights)
    model.teacher = None
    model.double().to('meta')._build_teacher()
    assert next(model.teacher.model.parameters()).device.type == 'meta'


def record(module, name='forward'):
    """Keep what a module is called with."""
    seen, call = [], getattr(module, name)

    def recording(x, *args, **kwargs):
        seen.append(x.clone())
        return call(x, *args, **kwargs)

    setattr(module, name, recording)
    return seen


def seed() -> None:
    np.random.seed(0)
    torch.manual_seed(0)


AUGMENTS = dict(augments=[dict(type='Mixup', alpha=0.8)])


def test_both_see_the_same_images(weights):
    model = build(weights, train_cfg=AUGMENTS)
    student, teacher = record(model.backbone), record(model.teacher.model)
    seed()
    train_step(model)
    assert len(student) == len(teacher) == 1
    assert torch.equal(student[0], teacher[0])
    plain = model.data_preprocessor(batch(), False)['inputs']
    assert not torch.allclose(student[0], plain)


@pytest.mark.parametrize(
    'own',
    [
        dict(mean=[127.5] * 3, std=[64.0] * 3, to_rgb=True),
        dict(mean=[103.53, 116.28, 123.675], std=[1.0, 2.0, 3.0], to_rgb=False),
        dict(to_rgb=True),
    ],
)
def test_teacher_with_a_normalisation_of_its_own(own, weights):
    """What its own preprocessor makes of the same images, mixed up alike."""
    model = build(weights, train_cfg=AUGMENTS, data_preprocessor=own)
    seen = record(model.teacher.model)
    preprocessor = MODELS.build(
        dict(
            type='mmpretrain.ClsDataPreprocessor',
            **own,
            num_classes=3,
            batch_augments=AUGMENTS,
        )
    )
    seed()
    train_step(model)
    seed()
    wanted = preprocessor(batch(), True)['inputs']
    assert (seen[0] - wanted).abs().max() < 1e-5 * wanted.abs().max()


@pytest.mark.parametrize('size', [(40, 72), 64, 16])
def test_teacher_with_an_image_size_of_its_own(size, weights):
    """As Pillow resizes each channel."""
    model = build(weights, image_size=size)
    seen = record(model.teacher.model)
    images = model.data_preprocessor(batch(), True)['inputs']
    assert len(model.teacher(images)) == 4
    height, width = size if isinstance(size, tuple) else (size, size)
    wanted = [
        [Image.fromarray(c).resize((width, height), Image.BICUBIC) for c in image]
        for image in images.numpy()
    ]
    wanted = np.array([[np.asarray(c) for c in image] for image in wanted])
    assert seen[0].shape == (4, 3, height, width)
    assert np.abs(seen[0].numpy() - wanted).max() < 1e-5


def test_teacher_of_more_classes(weights):
    images = build(weights).data_preprocessor(batch(), True)['inputs']
    whole = build(weights).teacher(images)
    chosen = build(weights, classes=[2, 0]).teacher(images)
    assert torch.equal(chosen, torch.stack([whole[:, 2], whole[:, 0]], dim=1))


def test_student_learns_its_own_numbers_of_the_classes(weights):
    model = build(weights, classes=[2, 0, 1])
    data = model.data_preprocessor(batch(), True)
    theirs = build(weights).teacher(data['inputs']).argmax(1).tolist()
    assert len(set(theirs)) > 1
    ours = torch.tensor([{2: 0, 0: 1, 1: 2}[number] for number in theirs])
    _, dist_logits = model(data['inputs'])
    wanted = F.cross_entropy(dist_logits, ours) / 2
    assert torch.allclose(model.loss(**data)['loss_dist'], wanted)


@pytest.mark.parametrize(
    ('classes', 'message'),
    [
        (
            [0, 1, 3],
            'classes has 3, but the teacher tells 3 classes apart: .*, 0 to 2$',
        ),
        ([0, 1, -1], 'classes has -1, but'),
        (['n01443537', 1, 2], "classes has 'n01443537', but"),
        ([0, 1], '2 classes apart and the model 3: .* with model.teacher.classes$'),
    ],
)
def test_wrong_classes_of_the_teacher(classes, message, weights):
    with pytest.raises(UserError, match=message):
        train_step(build(weights, classes=classes))


def test_loss_is_of_the_teachers_own_logits(weights):
    model = build(weights)
    plain = ImageClassifier(BACKBONE, head=TEACHER['head'])
    plain.load_state_dict(torch.load(weights)['state_dict'])
    data = model.data_preprocessor(batch(), True)
    target = plain.eval()(data['inputs']).argmax(1)
    losses = model.loss(**data)
    logits, dist_logits = model(data['inputs'])
    labels = torch.tensor([0, 1, 2, 0])
    assert len(set(target.tolist())) > 1
    assert torch.allclose(losses['loss_cls'], F.cross_entropy(logits, labels) / 2)
    assert torch.allclose(losses['loss_dist'], F.cross_entropy(dist_logits, target) / 2)


def test_averaged_logits_at_inference(weights):
    model = build(weights)
    data = model.data_preprocessor(batch(), False)
    model.eval()
    with torch.no_grad():
        predictions = model.predict(**data)
        pooled = model.backbone(data['inputs'])[-1].mean((2, 3))
    top = model.head.classifier
    logits = (top.head(top.norm(pooled)) + top.dist_head(top.dist_norm(pooled))) / 2
    scores = torch.stack([sample.pred_score for sample in predictions])
    assert torch.allclose(scores, logits.softmax(1), atol=1e-6)


def test_without_a_teacher():
    model = build('nowhere.pth', distillation='none')
    assert model.teacher is None
    _, log = train_step(model)
    assert set(log) == {'loss'}


def test_evaluation_needs_no_teacher():
    model = DistilledImageClassifier(
        backbone=BACKBONE,
        head={**TEACHER['head'], 'distillation': 'hard'},
        data_preprocessor=dict(IMAGENET),
        teacher={**TEACHER, 'checkpoint': 'nowhere.pth'},
    ).eval()
    data = model.data_preprocessor(batch(), False)
    assert len(model.predict(**data)) == 4
    assert set(model.loss(**data)) == {'loss'}
    assert model.teacher is None


def test_random_numbers_are_the_same_with_a_teacher(weights):
    states = []
    for distillation in ('none', 'hard'):
        build(weights, distillation=distillation)
        states.append(torch.get_rng_state())
    assert torch.equal(*states)


def test_student_of_one_run_is_teacher_of_the_next(weights):
    model = build(weights, type='DistilledImageClassifier')
    assert isinstance(model.teacher.model, DistilledImageClassifier)
    assert set(train_step(model)[1]) == {'loss', 'loss_cls', 'loss_dist'}
