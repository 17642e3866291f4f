# For a phone: neck and head have 48 channels instead of 256 and 128.
_base_ = 'semfpn_rapidnet_ti_ade20k.py'

model = dict(
    neck=dict(out_channels=48), decode_head=dict(in_channels=[48] * 4, channels=48)
)
