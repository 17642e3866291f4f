# Batch normalisation trains, across processes, and stochastic depth rises to 0.1 over
# the blocks, as in the published dense code.
_base_ = ['mmdet::_base_/models/mask-rcnn_r50_fpn.py', '../plugin.py']

model = dict(
    backbone=dict(
        _delete_=True,
        type='MobileViG',
        arch='m',
        norm_cfg=dict(type='SyncBN'),
        drop_path_rate=0.1,
    ),
    neck=dict(in_channels=[42, 84, 224, 400]),
)
