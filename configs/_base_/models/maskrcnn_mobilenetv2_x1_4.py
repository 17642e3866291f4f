# Tapped at strides 4, 8, 16 and 32; batch normalisation trains, across processes.
_base_ = ['mmdet::_base_/models/mask-rcnn_r50_fpn.py', '../plugin_mobilenetv2.py']

model = dict(
    backbone=dict(
        _delete_=True,
        type='mmpretrain.MobileNetV2',
        widen_factor=1.4,
        out_indices=(1, 2, 4, 6),
        norm_cfg=dict(type='SyncBN'),
    ),
    neck=dict(in_channels=[32, 48, 136, 448]),
)
