_base_ = 'semfpn_rapidnet_s_ade20k.py'

model = dict(backbone=dict(arch='m'), neck=dict(in_channels=[32, 64, 160, 320]))
