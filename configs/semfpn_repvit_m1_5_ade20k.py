_base_ = 'semfpn_repvit_m1_1_ade20k.py'

model = dict(backbone=dict(arch='m1_5'))
