"""What is promised of every training, of one that learns embeddings."""

import pytest
import torch
from helpers import tiny_distillation, tiny_sam
from helpers.killed_runs import KilledRun, die_at
from mmengine.registry import init_default_scope

from dev.compare_checkpoints import list_differences
from mmrapidnet.apis import SegmentAnythingPredictor
from mmrapidnet.apis.options import accumulate
from mmrapidnet.apis.train import train
from mmrapidnet.checkpoints.safe_load.load import load
from mmrapidnet.utils.errors import UserError


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp('distillation')


def run(folder, name, **options):
    """A finished run of two epochs of two steps; its last checkpoint."""
    cfg = tiny_distillation.load(folder, **options)
    cfg.work_dir = str(folder / name)
    train(cfg)
    return folder / name / 'epoch_2.pth'


def start(folder, name, *prepare):
    """Start, or go on with, a run of its own, which computes with one thread."""
    cfg = tiny_distillation.load(folder)
    cfg.update(work_dir=str(folder / name), resume='auto')
    init_default_scope('mmdet')
    return KilledRun(cfg, *prepare)


@pytest.fixture(scope='module')
def trained(folder):
    start(folder, 'whole').finish()
    return folder / 'whole' / 'epoch_2.pth'


def test_a_killed_run_ends_with_the_same_bits(folder, trained):
    assert start(folder, 'torn', die_at, 'renamed', 'epoch_1.pth').end() == -9
    assert 'going on from' in start(folder, 'torn').finish()
    assert list_differences(load(folder / 'torn' / 'epoch_2.pth'), load(trained)) == []


def test_what_is_trained_is_a_whole_model(folder, trained):
    """It segments with the student's config, the teacher's file being lost."""
    cfg = tiny_distillation.load(folder)
    cfg.model.teacher.checkpoint = 'lost.pth'
    predictor = SegmentAnythingPredictor(cfg, trained, 'cpu')
    predictor.set_image(tiny_sam.draw_image(90, 120))
    masks, _, _ = predictor.predict(box=[10, 10, 80, 70])
    assert masks.shape == (3, 90, 120)
    teacher, state = tiny_sam.build().state_dict(), load(trained)['state_dict']
    decoder = [n for n in state if n.startswith(('prompt_encoder.', 'mask_decoder.'))]
    assert all(torch.equal(state[name], teacher[name]) for name in decoder)
    assert set(state) == set(predictor.model.state_dict())


def test_batches_add_up(folder, trained):
    """With norms that do not look at a batch, two of one image are one of two."""
    options = {
        'model.backbone.norm_eval': True,
        'optim_wrapper.optimizer': dict(type='SGD', lr=0.1, _delete_=True),
        'param_scheduler': [],
        'train_cfg.max_epochs': 1,
    }
    states = []
    for parts in (1, 2):
        cfg = tiny_distillation.load(folder, **options)
        cfg.train_dataloader.batch_size = 2 // parts
        if parts > 1:
            accumulate(cfg, parts)
        cfg.work_dir = str(folder / f'parts_{parts}')
        train(cfg)
        states.append(load(folder / f'parts_{parts}' / 'epoch_1.pth')['state_dict'])
    whole, added = states
    # The rates of the other run were those of its warm-up.
    name = 'neck.conv.weight'
    assert (whole[name] - load(trained)['state_dict'][name]).abs().max() > 1e-3
    for name, value in whole.items():
        assert torch.allclose(value, added[name], atol=1e-5), name


def test_a_loss_that_is_no_number_stops_the_run(folder):
    with pytest.raises(UserError, match='iteration 2: loss') as caught:
        run(folder, 'nan', **{'optim_wrapper.optimizer.lr': 1e38})
    assert 'with the images' in str(caught.value)
    assert '.png' in str(caught.value)
    assert not list((folder / 'nan').glob('*.pth'))


def test_a_teacher_is_missed_before_anything_is_built(folder):
    with pytest.raises(UserError, match='has no file lost.pth'):
        run(folder, 'lost', **{'model.teacher.checkpoint': 'lost.pth'})
    assert not (folder / 'lost').exists()
    with pytest.raises(UserError, match='lost holds no embeddings'):
        run(folder, 'lost', **{'model.embeddings': 'lost'})
