# What the encoder of sam_repvit_m0_6_shapes may start from.
_base_ = 'semfpn_rapidnet_ti_shapes.py'

model = dict(
    backbone=dict(_delete_=True, type='RepViT', arch='m0_6', tap='stage_end'),
    neck=dict(in_channels=[40, 80, 160, 320]),
)
