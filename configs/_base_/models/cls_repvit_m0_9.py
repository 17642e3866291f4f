_base_ = '../plugin_cls.py'

model = dict(
    type='ImageClassifier',
    backbone=dict(type='RepViT', arch='m0_9', out_indices=(3,)),
    head=dict(
        type='DistilledClsHead',
        classifier=dict(
            type='DistilledLinearClassifier', in_channels=384, num_classes=1000
        ),
    ),
)
