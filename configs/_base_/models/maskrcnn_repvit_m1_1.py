# Batch normalisation keeps its pre-trained statistics, as in the published dense
# code, whose detectors tap the block before the last one of stages 1 to 3.
_base_ = ['mmdet::_base_/models/mask-rcnn_r50_fpn.py', '../plugin.py']

model = dict(
    backbone=dict(
        _delete_=True,
        type='RepViT',
        arch='m1_1',
        tap='before_last',
        norm_cfg=dict(type='BN'),
        norm_eval=True,
    ),
    neck=dict(in_channels=[64, 128, 256, 512]),
)
