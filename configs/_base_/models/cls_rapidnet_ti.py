_base_ = '../plugin_cls.py'

model = dict(
    type='ImageClassifier',
    backbone=dict(type='RapidNet', arch='ti', out_indices=(3,)),
    head=dict(
        type='DistilledClsHead',
        classifier=dict(
            type='DistilledClassifier',
            in_channels=224,
            hidden_channels=512,
            num_classes=1000,
        ),
    ),
)
