# The decoder of semfpn_lite_rapidnet_ti_ade20k.
_base_ = 'semfpn_rapidnet_ti_shapes.py'

model = dict(
    neck=dict(out_channels=48), decode_head=dict(in_channels=[48] * 4, channels=48)
)
