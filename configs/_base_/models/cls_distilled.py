# A classifier that learns from RegNetY-16GF (timm's regnety_160), as published.  The
# file of the teacher's weights: --cfg-options model.teacher.checkpoint=FILE
# Without a teacher:             --cfg-options model.head.distillation=none
_base_ = '../plugin_cls.py'

model = dict(
    type='DistilledImageClassifier',
    # It has the student's normalisation, so it sees the very same tensors.
    teacher=dict(
        type='TimmClassifier',
        model_name='regnety_160',
        num_classes=1000,
        global_pool='avg',
        checkpoint=None,
    ),
    head=dict(
        type='DistilledClsHead',
        distillation='hard',
        alpha=0.5,
        # On the labels alone: the teacher's classes are learnt as they are.
        loss=dict(type='LabelSmoothLoss', label_smooth_val=0.1),
    ),
    # One of them for every batch, with equal probability.
    train_cfg=dict(
        augments=[dict(type='Mixup', alpha=0.8), dict(type='CutMix', alpha=1.0)]
    ),
)
