_base_ = 'cls_distilled.py'

model = dict(
    backbone=dict(type='RepViT', arch='m0_9', out_indices=(3,)),
    head=dict(
        classifier=dict(
            type='DistilledLinearClassifier', in_channels=384, num_classes=1000
        ),
        # As in the published code.
        init_cfg=dict(type='TruncNormal', layer='Linear', std=0.02),
    ),
)
