# RapidNet-Ti for small images on two CPU cores. No teacher: both classifiers learn from
# the labels.
_base_ = '../plugin_cls.py'

model = dict(
    type='DistilledImageClassifier',
    # Blocks that start near the identity need longer to learn from scratch.
    backbone=dict(
        type='RapidNet', arch='ti', out_indices=(3,), layer_scale_init_value=0.1
    ),
    head=dict(
        type='DistilledClsHead',
        classifier=dict(
            type='DistilledClassifier', in_channels=224, hidden_channels=512
        ),
        distillation='none',
    ),
)
