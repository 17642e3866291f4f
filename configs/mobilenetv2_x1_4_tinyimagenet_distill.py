# For the comparison on nuclei: all alike but for the backbone and what it needs for a
# classifier.  Labels only: --cfg-options model.head.distillation=none
_base_ = 'rapidnet_ti_tinyimagenet_distill.py'

model = dict(
    backbone=dict(_delete_=True, type='MobileNetV2', widen_factor=1.4),
    head=dict(
        classifier=dict(
            _delete_=True,
            type='DistilledLinearClassifier',
            in_channels=1792,
            num_classes=50,
        ),
    ),
)
