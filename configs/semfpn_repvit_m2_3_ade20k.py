_base_ = 'semfpn_repvit_m1_1_ade20k.py'

model = dict(backbone=dict(arch='m2_3'), neck=dict(in_channels=[80, 160, 320, 640]))
