"""Class weights of mmsegmentation's cross-entropy where pixels have no class."""

import pytest
import torch
from torch.nn import functional as F

from mmrapidnet.compat import class_weights

WEIGHTS = [1.0, 2.0, 5.0]


@pytest.fixture
def cross_entropy():
    losses = pytest.importorskip('mmseg.models.losses')
    class_weights.apply()
    class_weights.apply()
    return losses.CrossEntropyLoss(class_weight=WEIGHTS, avg_non_ignore=True)


def _batch(ignored):
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(2, 3, 4, 5, generator=generator)
    labels = torch.randint(0, 3, (2, 4, 5), generator=generator)
    labels[:, 0] = ignored
    return scores, labels


@pytest.mark.parametrize('ignored', [255, 0])
def test_the_loss_is_pytorchs(cross_entropy, ignored):
    scores, labels = _batch(ignored)
    found = cross_entropy(scores, labels, ignore_index=ignored)
    weight = torch.tensor(WEIGHTS)
    expected = F.cross_entropy(scores, labels, weight, ignore_index=ignored)
    torch.testing.assert_close(found, expected)


def test_without_ignored_labels_it_is_the_librarys(cross_entropy):
    scores, labels = _batch(1)
    found = cross_entropy(scores, labels, ignore_index=255)
    library = cross_entropy.cls_criterion.__wrapped__
    weight = torch.tensor(WEIGHTS)
    expected = library(scores, labels, class_weight=weight, ignore_index=255)
    torch.testing.assert_close(found, expected)


def test_nothing_but_ignored_labels_is_a_loss_of_zero(cross_entropy):
    scores, labels = _batch(255)
    labels[:] = 255
    assert cross_entropy(scores, labels, ignore_index=255).item() == 0
