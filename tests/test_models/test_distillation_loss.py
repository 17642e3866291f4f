"""The loss of a student, by hand: of the labels, and of what its teacher says."""

import pytest
import torch
from helpers.tiny_teacher import CLASSIFIER
from mmpretrain.structures import DataSample
from torch.nn import functional as F

from dev.benchmark.peers import randomize_norms
from mmrapidnet.models.heads import DistilledClsHead
from mmrapidnet.utils.errors import UserError

pytestmark = pytest.mark.usefixtures('mmpretrain_scope')


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
