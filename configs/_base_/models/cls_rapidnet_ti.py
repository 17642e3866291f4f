# Stochastic depth as published: one rate per block (2 + 2 + 8 + 4).
_base_ = 'cls_distilled.py'

model = dict(
    backbone=dict(
        type='RapidNet',
        arch='ti',
        out_indices=(3,),
        drop_path_rate=[0.0] * 11 + [0.0067, 0.0133, 0.0133, 0.0133, 0.0200],
    ),
    head=dict(
        classifier=dict(
            type='DistilledClassifier',
            in_channels=224,
            hidden_channels=512,
            num_classes=1000,
        ),
        # The published code initialises every convolution so, the classifiers', too.
        init_cfg=dict(
            type='Kaiming', layer='Conv2d', mode='fan_in', nonlinearity='relu'
        ),
    ),
)
