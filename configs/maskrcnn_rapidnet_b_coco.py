_base_ = 'maskrcnn_rapidnet_s_coco.py'

model = dict(backbone=dict(arch='b'), neck=dict(in_channels=[64, 128, 224, 416]))
