# Batch normalisation keeps its pre-trained statistics, as in the published dense
# code, whose segmenters tap the ends of the stages.
_base_ = ['mmseg::_base_/models/fpn_r50.py', '../plugin.py']

model = dict(
    pretrained=None,
    backbone=dict(
        _delete_=True,
        type='RepViT',
        arch='m1_1',
        tap='stage_end',
        norm_cfg=dict(type='BN'),
        norm_eval=True,
    ),
    neck=dict(in_channels=[64, 128, 256, 512]),
    decode_head=dict(num_classes=150),
)
