_base_ = 'maskrcnn_mobilevig_m_coco.py'

model = dict(backbone=dict(arch='b'), neck=dict(in_channels=[42, 84, 240, 464]))
