"""Learning from a teacher: the loss by hand, and the teacher beside the model."""

from copy import deepcopy

import numpy as np
import pytest
import torch
from mmengine.model import ExponentialMovingAverage
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, DefaultScope
from mmpretrain.models.classifiers import ImageClassifier
from mmpretrain.structures import DataSample
from PIL import Image
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from dev.benchmark.peers import randomize_norms
from mmrapidnet.deploy import fuse
from mmrapidnet.models.classifiers import DistilledImageClassifier
from mmrapidnet.models.heads import DistilledClsHead
from mmrapidnet.utils.errors import UserError

BACKBONE = dict(
    type='RapidNet',
    arch=dict(channels=(4, 4, 8, 8), local_blocks=(1,) * 4, global_blocks=(0, 0, 0, 1)),
    out_indices=(3,),
)
CLASSIFIER = dict(type='DistilledLinearClassifier', in_channels=8, num_classes=3)
IMAGENET = dict(
    mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], to_rgb=True
)
TEACHER = dict(
    type='ImageClassifier',
    backbone=BACKBONE,
    head=dict(type='DistilledClsHead', classifier=CLASSIFIER),
)


@pytest.fixture(scope='module', autouse=True)
def scope():
    """That of the runs, whatever a test before these has left."""
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        yield


@pytest.fixture(scope='module')
def weights(tmp_path_factory):
    """A file of the weights of a teacher that tells images apart."""
    torch.manual_seed(3)
    model = ImageClassifier(
        BACKBONE, head=TEACHER['head'], data_preprocessor=dict(IMAGENET)
    )
    randomize_norms(model, seed=3).train()
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            module.momentum = 1.0
    with torch.no_grad():
        model(model.data_preprocessor(batch(16), False)['inputs'])
    path = tmp_path_factory.mktemp('teacher') / 'teacher.pth'
    torch.save({'state_dict': model.state_dict()}, path)
    return path


def build(checkpoint=None, distillation='hard', train_cfg=None, **teacher):
    """A student in training mode, with its teacher if it learns from one."""
    torch.manual_seed(0)
    model = DistilledImageClassifier(
        backbone=BACKBONE,
        head=dict(
            type='DistilledClsHead', classifier=CLASSIFIER, distillation=distillation
        ),
        data_preprocessor=dict(**IMAGENET, num_classes=3),
        train_cfg=train_cfg,
        teacher={
            **TEACHER,
            **teacher,
            'checkpoint': None if checkpoint is None else str(checkpoint),
        },
    )
    model.init_weights()
    return randomize_norms(model).train()


def batch(count=4) -> dict:
    generator = torch.Generator().manual_seed(1)
    # Of a colour each, with some noise.
    colours = torch.randint(30, 226, (count, 3, 1, 1), generator=generator)
    images = colours + torch.randint(-30, 30, (count, 3, 32, 48), generator=generator)
    samples = [DataSample().set_gt_label(i % 3) for i in range(count)]
    return dict(inputs=list(images.byte()), data_samples=samples)


def train_step(model, data=None):
    optimizer = dict(type='AdamW', lr=1e-3)
    wrapper = build_optim_wrapper(model, dict(optimizer=optimizer))
    return wrapper, model.train_step(data or batch(), wrapper)


def head_giving(*logits, **arguments) -> DistilledClsHead:
    """A head whose classifier gives these, as it does in training."""
    head = DistilledClsHead(CLASSIFIER, **arguments)
    pair = tuple(map(torch.tensor, logits))
    head.classifier.forward = lambda x: pair
    return head


def losses_of(head, teacher_logits, samples):
    feats = (torch.zeros(1, 8, 2, 2),)
    return head.loss(feats, samples, teacher_logits=torch.tensor(teacher_logits))


def test_hard_loss_by_hand():
    head = head_giving(
        [[0.0, 0.0, 0.0]], [[1.0, 1.0, 0.0]], distillation='hard', alpha=0.25
    )
    label = [DataSample().set_gt_label(0)]
    losses = losses_of(head, [[-5.0, 0.1, 0.2]], label)
    assert set(losses) == {'loss_cls', 'loss_dist'}
    # log 3 of the label; the teacher says class 2: log(2 e + 1).
    assert losses['loss_cls'].item() == pytest.approx(0.75 * 1.0986123, rel=1e-6)
    assert losses['loss_dist'].item() == pytest.approx(0.25 * 1.8619948, rel=1e-6)
    # How sure it is of that class says nothing.
    again = losses_of(head, [[-50.0, 10.0, 20.0]], label)
    assert again['loss_dist'] == losses['loss_dist']


def test_soft_loss_by_hand():
    head = head_giving(
        [[0.0, 0.0]], [[2.0, 0.0]], distillation='soft', alpha=0.5, tau=2.0
    )
    losses = losses_of(head, [[0.0, 2.0]], [DataSample().set_gt_label(0)])
    # The probabilities of logits 0 and 1 are 0.2689414 and 0.7310586, here the other
    # way round: the divergence is 0.4621172, over two classes, times 2**2.
    assert losses['loss_cls'].item() == pytest.approx(0.5 * 0.6931472, rel=1e-6)
    assert losses['loss_dist'].item() == pytest.approx(0.5 * 0.9242343, rel=1e-6)


@pytest.mark.parametrize('tau', [1.0, 3.0])
def test_soft_loss_as_published(tau):
    torch.manual_seed(0)
    logits, teacher = torch.randn(5, 3), torch.randn(5, 3)
    head = DistilledClsHead(CLASSIFIER, distillation='soft', tau=tau)
    p, q = (teacher / tau).softmax(1), (logits / tau).softmax(1)
    wanted = (p * (p.log() - q.log())).sum() * tau**2 / logits.numel()
    assert torch.allclose(head._distill(logits, teacher), wanted)


def test_loss_of_mixed_and_smoothed_labels():
    """Smoothing is of the labels alone."""
    torch.manual_seed(0)
    head = DistilledClsHead(
        CLASSIFIER,
        distillation='hard',
        loss=dict(type='mmpretrain.LabelSmoothLoss', label_smooth_val=0.1),
    ).train()
    feats = (torch.randn(4, 8, 3, 3),)
    scores = torch.rand(4, 3).softmax(1)
    samples = [DataSample().set_gt_score(score) for score in scores]
    teacher = torch.randn(4, 3)
    losses = head.loss(feats, samples, teacher_logits=teacher)
    logits, dist_logits = head(feats)
    base = F.cross_entropy(logits, 0.9 * scores + 0.1 / 3)
    distilled = F.cross_entropy(dist_logits, teacher.argmax(1))
    assert torch.allclose(losses['loss_cls'], base / 2)
    assert torch.allclose(losses['loss_dist'], distilled / 2)


def test_each_output_learns_its_own():
    head = randomize_norms(DistilledClsHead(CLASSIFIER, distillation='hard')).train()
    feats = (torch.randn(4, 8, 3, 3),)
    samples = [DataSample().set_gt_label(0)] * 4
    classifier = head.classifier
    head.loss(feats, samples, teacher_logits=torch.eye(4, 3))['loss_cls'].backward()
    assert classifier.head.weight.grad.abs().max() > 1e-3
    assert classifier.dist_head.weight.grad is None
    head.zero_grad()
    head.loss(feats, samples, teacher_logits=torch.eye(4, 3))['loss_dist'].backward()
    assert classifier.head.weight.grad is None
    assert classifier.dist_head.weight.grad.abs().max() > 1e-3


def test_wrong_arguments_of_the_head():
    with pytest.raises(UserError, match="'mild': choose one of none, hard, soft"):
        DistilledClsHead(CLASSIFIER, distillation='mild')
    for arguments in (dict(alpha=1.5), dict(tau=0.0)):
        with pytest.raises(UserError, match='alpha, the weight of the distillation'):
            DistilledClsHead(CLASSIFIER, **arguments)
    head = head_giving([[0.0] * 3], [[0.0] * 3], distillation='hard')
    label = [DataSample().set_gt_label(0)]
    with pytest.raises(UserError, match='needs a teacher: make the model a Distilled'):
        head.loss((torch.zeros(1, 8, 2, 2),), label)
    with pytest.raises(UserError, match='tells 4 classes apart and the model 3'):
        losses_of(head, [[0.0] * 4], label)


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


def test_teacher_that_cannot_be_built(weights, tmp_path):
    without = 'or train without a teacher with --cfg-options model.head.distillation=no'
    with pytest.raises(
        UserError,
        match=r'the teacher \(ImageClassifier\) has no weights: give their file with '
        rf'--cfg-options model.teacher.checkpoint=FILE, {without}',
    ):
        build()
    with pytest.raises(UserError, match=f'has no file nowhere.pth: check .*{without}'):
        build('nowhere.pth')
    model = DistilledImageClassifier(
        backbone=BACKBONE, head={**TEACHER['head'], 'distillation': 'soft'}
    )
    with pytest.raises(UserError, match=f'distillation needs a teacher: .*{without}'):
        model.init_weights()
    narrow = {**BACKBONE, 'arch': {**BACKBONE['arch'], 'channels': (4, 4, 8, 16)}}
    with pytest.raises(UserError, match='does not fit the teacher, ImageClassifier; o'):
        build(weights, backbone=narrow)
    cut = tmp_path / 'cut.pth'
    cut.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(UserError, match='cut.pth is truncated or not a checkpoint'):
        build(cut)


@pytest.mark.parametrize('counters', [True, False])
def test_teacher_whose_weights_have_other_names(counters, weights, tmp_path):
    state = {
        f'_tensor.{index}.{name.rpartition(".")[2]}': value
        for index, (name, value) in enumerate(torch.load(weights)['state_dict'].items())
        if counters or 'num_batches_tracked' not in name
    }
    path = tmp_path / 'renamed.pth'
    torch.save(state, path)
    with pytest.raises(UserError, match='renamed.pth matches nothing of the teacher'):
        build(path)
    images = torch.randn(2, 3, 32, 48)
    logits = build(path, remap=True).teacher(images)
    assert torch.equal(logits, build(weights).teacher(images))

    state.popitem()
    torch.save(state, path)
    with pytest.raises(
        UserError,
        match=r'renamed.pth holds \d+ tensors and the teacher, ImageClassifier, has \d+'
        ': is it of the same arch',
    ):
        build(path, remap=True)
    # As many, in another order.
    torch.save(dict(a=torch.zeros(5), **state), path)
    with pytest.raises(UserError, match='renamed.pth does not fit the teacher, Image'):
        build(path, remap=True)


def test_teacher_that_is_more_than_data(tmp_path):
    canary = tmp_path / 'canary'

    class Canary:
        def __reduce__(self):
            return (open, (str(canary), 'w'))

    path = tmp_path / 'evil.pth'
    torch.save({'state_dict': {'a': Canary()}}, path)
    with pytest.raises(UserError, match='evil.pth'):
        build(path)
    assert not canary.exists()


@pytest.mark.parametrize('layout', ['bare', 'deit'])
def test_teacher_of_timm(layout, tmp_path):
    """A sibling of the published teacher, in files as timm and DeiT write them."""
    import timm

    torch.manual_seed(0)
    published = randomize_norms(timm.create_model('regnety_002', num_classes=3))
    state = published.state_dict()
    if layout == 'deit':
        old = {k: v for k, v in state.items() if 'num_batches_tracked' not in k}
        state = {'model': old}
    path = tmp_path / 'regnety.pth'
    torch.save(state, path)
    model = DistilledImageClassifier(
        backbone=BACKBONE,
        head={**TEACHER['head'], 'distillation': 'hard'},
        teacher=dict(
            type='TimmClassifier',
            model_name='regnety_002',
            num_classes=3,
            global_pool='avg',
            checkpoint=str(path),
        ),
    )
    model.init_weights()
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        wanted = published.eval()(images)
    assert torch.equal(model.teacher(images), wanted)


def test_student_of_one_run_is_teacher_of_the_next(weights):
    model = build(weights, type='DistilledImageClassifier')
    assert isinstance(model.teacher.model, DistilledImageClassifier)
    assert set(train_step(model)[1]) == {'loss', 'loss_cls', 'loss_dist'}
