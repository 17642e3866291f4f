_base_ = 'maskrcnn_repvit_m1_1_coco.py'

model = dict(backbone=dict(arch='m2_3'), neck=dict(in_channels=[80, 160, 320, 640]))
