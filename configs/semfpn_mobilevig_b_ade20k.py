_base_ = 'semfpn_mobilevig_m_ade20k.py'

model = dict(backbone=dict(arch='b'), neck=dict(in_channels=[42, 84, 240, 464]))
