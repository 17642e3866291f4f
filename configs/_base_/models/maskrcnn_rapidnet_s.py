# Batch normalisation trains, across processes, as in the published dense code.
# Stochastic depth as published: one rate per block (3 + 3 + 12 + 6).
_base_ = ['mmdet::_base_/models/mask-rcnn_r50_fpn.py', '../plugin.py']

model = dict(
    backbone=dict(
        _delete_=True,
        type='RapidNet',
        arch='s',
        norm_cfg=dict(type='SyncBN'),
        drop_path_rate=[0.0] * 16
        + [0.0043, 0.0087]
        + [0.0130, 0.0130, 0.0130, 0.0130, 0.0174, 0.0217],
    ),
    neck=dict(in_channels=[32, 64, 112, 224]),
)
