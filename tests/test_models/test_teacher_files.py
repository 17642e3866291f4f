"""The files that a teacher's weights come from."""

import pytest
import torch
from helpers.tiny_teacher import BACKBONE, TEACHER, build

from dev.benchmark.peers import randomize_norms
from mmrapidnet.models.classifiers import DistilledImageClassifier
from mmrapidnet.utils.errors import UserError

pytestmark = pytest.mark.usefixtures('mmpretrain_scope')


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
