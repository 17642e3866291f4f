# Batch normalisation trains, across processes, and stochastic depth rises to 0.1 over
# the blocks, as in the published detectors.
_base_ = ['mmseg::_base_/models/fpn_r50.py', '../plugin.py']

model = dict(
    pretrained=None,
    backbone=dict(
        _delete_=True,
        type='MobileViG',
        arch='m',
        norm_cfg=dict(type='SyncBN'),
        drop_path_rate=0.1,
    ),
    neck=dict(in_channels=[42, 84, 224, 400]),
    decode_head=dict(num_classes=150),
)
