_base_ = 'maskrcnn_rapidnet_s_coco.py'

model = dict(backbone=dict(arch='m'), neck=dict(in_channels=[32, 64, 160, 320]))
