# For the comparison on CamVid: all alike but for the backbone.
_base_ = 'semfpn_rapidnet_ti_camvid.py'

model = dict(
    backbone=dict(_delete_=True, type='RepViT', arch='m0_9', tap='stage_end'),
    neck=dict(in_channels=[48, 96, 192, 384]),
)
