# For a phone: neck and head have 64 channels instead of 256 and 128, as in
# semfpn_rapidnet_ti_shapes.
_base_ = 'semfpn_rapidnet_ti_ade20k.py'

model = dict(
    neck=dict(out_channels=64), decode_head=dict(in_channels=[64] * 4, channels=64)
)
