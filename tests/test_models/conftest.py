"""What the tests of learning from a teacher share."""

import pytest
import torch
from helpers.tiny_teacher import BACKBONE, IMAGENET, TEACHER, batch
from mmengine.registry import DefaultScope
from mmpretrain.models.classifiers import ImageClassifier
from torch.nn.modules.batchnorm import _BatchNorm

from dev.benchmark.peers import randomize_norms


@pytest.fixture(scope='module')
def mmpretrain_scope():
    """That of the runs, whatever a test before these has left."""
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        yield


@pytest.fixture(scope='module')
def weights(mmpretrain_scope, tmp_path_factory):
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
