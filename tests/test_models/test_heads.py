"""The head with a class and a distillation output against hand-computed values."""

import pytest
import torch
from mmengine.registry import MODELS, DefaultScope
from mmpretrain.structures import DataSample
from torch.nn import functional as F

from dev.benchmark.peers import randomize_norms
from mmrapidnet.models.heads import DistilledClsHead

CLASSIFIERS = {
    'hidden': dict(
        type='DistilledClassifier', in_channels=6, hidden_channels=5, num_classes=3
    ),
    'linear': dict(type='DistilledLinearClassifier', in_channels=6, num_classes=3),
}
LABELS = (2, 0, 1, 2)


@pytest.fixture(params=CLASSIFIERS)
def head(request) -> DistilledClsHead:
    torch.manual_seed(0)
    return randomize_norms(DistilledClsHead(CLASSIFIERS[request.param]))


@pytest.fixture
def feats() -> tuple[torch.Tensor, ...]:
    """An early feature map that is not to be used, and the last one."""
    torch.manual_seed(1)
    return torch.full((4, 2, 8, 8), float('nan')), torch.randn(4, 6, 3, 5)


def samples(labels=LABELS) -> list[DataSample]:
    return [DataSample().set_gt_label(label) for label in labels]


def fixed_logits(head: DistilledClsHead, *logits: list[list[float]]) -> None:
    """Make a head's classifier give these, as it does in training."""
    pair = tuple(map(torch.tensor, logits))
    head.classifier.forward = lambda x: pair


def test_loss_by_hand(head):
    fixed_logits(head, [[0.0, 0.0, 0.0]], [[1.0, 1.0, 0.0]])
    losses = head.loss((torch.zeros(1, 6, 2, 2),), samples([0]))
    # log 3 for the class logits, log(2 + 1 / e) for the distillation logits.
    assert set(losses) == {'loss'}
    assert losses['loss'].item() == pytest.approx((1.0986123 + 0.8619948) / 2, 1e-6)


def test_loss_of_a_batch_is_its_mean(head, feats):
    logits, dist_logits = head.train()(feats)
    assert not torch.allclose(logits, dist_logits)
    target = torch.tensor(LABELS)
    wanted = (
        F.cross_entropy(logits, target) + F.cross_entropy(dist_logits, target)
    ) / 2
    assert torch.allclose(head.loss(feats, samples())['loss'], wanted)


def test_loss_of_mixed_labels(head, feats):
    """Mixup and cutmix give scores instead of labels."""
    scores = torch.softmax(torch.randn(4, 3), 1)
    mixed = [DataSample().set_gt_score(score) for score in scores]
    head.loss_module = MODELS.build(
        dict(type='mmpretrain.CrossEntropyLoss', use_soft=True)
    )
    wanted = sum(F.cross_entropy(logits, scores) for logits in head.train()(feats)) / 2
    assert torch.allclose(head.loss(feats, mixed)['loss'], wanted)


def test_both_classifiers_are_trained(head, feats):
    head.train().loss(feats, samples())['loss'].backward()
    assert all(p.grad is not None for p in head.parameters())
    for name in ('head', 'dist_head'):
        assert getattr(head.classifier, name).weight.grad.abs().max() > 1e-3


def test_accuracy_in_training_is_the_class_logits(head):
    head.cal_acc, head.topk = True, (1, 2)
    right, second, wrong = [0.0, 1.0, 2.0], [0.0, 2.0, 1.0], [2.0, 1.0, 0.0]
    fixed_logits(head, [right, right, second, wrong], [wrong] * 4)
    losses = head.loss((torch.zeros(4, 6, 2, 2),), samples([2] * 4))
    (top1,), (top2,) = losses['accuracy_top-1'], losses['accuracy_top-2']
    assert (top1.item(), top2.item()) == (50, 75)


def test_predictions_come_from_the_averaged_logits(head, feats):
    head.eval()
    x = feats[-1]
    if hasattr(head.classifier, 'hidden'):
        hidden = head.classifier.hidden(x.mean((2, 3), keepdim=True))
        pair = head.classifier.head(hidden), head.classifier.dist_head(hidden)
    else:
        pooled = x.mean((2, 3))
        pair = (
            head.classifier.head(head.classifier.norm(pooled)),
            head.classifier.dist_head(head.classifier.dist_norm(pooled)),
        )
    logits = (pair[0].flatten(1) + pair[1].flatten(1)) / 2
    predictions = head.predict(feats, samples())
    for prediction, scores, label in zip(
        predictions, logits.softmax(1), LABELS, strict=True
    ):
        assert torch.allclose(prediction.pred_score, scores, atol=1e-6)
        assert prediction.pred_label.item() == scores.argmax().item()
        assert prediction.gt_label.item() == label


def test_loss_in_evaluation_is_that_of_the_averaged_logits(head, feats):
    """A batch of two must not be taken for the pair of logits."""
    feats = tuple(x[:2] for x in feats)
    logits = head.eval()(feats)
    assert logits.shape == (2, 3)
    losses = head.loss(feats, samples(LABELS[:2]))
    wanted = F.cross_entropy(logits, torch.tensor(LABELS[:2]))
    assert torch.allclose(losses['loss'], wanted)


@pytest.mark.parametrize('scope', [None, 'mmpretrain', 'mmdet'])
def test_is_found_in_the_root_registry(scope):
    cfg = dict(type='DistilledClsHead', classifier=CLASSIFIERS['linear'])
    if scope is None:
        head = MODELS.build(cfg)
    else:
        with DefaultScope.overwrite_default_scope(scope):
            head = MODELS.build(cfg)
    assert type(head) is DistilledClsHead
    assert set(dict(head.named_parameters())) == {
        f'classifier.{layer}.{kind}'
        for layer in ('norm', 'head', 'dist_norm', 'dist_head')
        for kind in ('weight', 'bias')
    }
