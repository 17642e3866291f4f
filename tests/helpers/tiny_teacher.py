"""A tiny classifier that learns from another of its kind."""

import torch
from mmengine.optim import build_optim_wrapper
from mmpretrain.structures import DataSample

from dev.benchmark.peers import randomize_norms
from mmrapidnet.models.classifiers import DistilledImageClassifier

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
