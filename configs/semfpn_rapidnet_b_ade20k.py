_base_ = 'semfpn_rapidnet_s_ade20k.py'

model = dict(backbone=dict(arch='b'), neck=dict(in_channels=[64, 128, 224, 416]))
